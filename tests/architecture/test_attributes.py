"""Whoever is given a runner reads it; what it finds, it returns, and the runner itself takes it over."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from helpers.tree import PACKAGES, source_files

THE_RUNNER = ("runner", "self.runner")


def written(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines that set an attribute of `runner` or of `self.runner`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            holder: ast.AST | None = node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr"):
            holder = node.args[0] if node.args else None
        else:
            continue
        if holder is not None and ast.unparse(holder) in THE_RUNNER:
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_but_the_runner_writes_its_attributes(package: str) -> None:
    found = [
        f"{path}:{line}: {text}"
        for path in source_files(package)
        for line, text in written(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


def test_what_is_written_is_found() -> None:
    source = "runner.a = 1\nself.runner.b, c = 1, 2\nrunner.d += 1\nsetattr(runner, 'e', 1)\nrunner.f.g = runner.h\n"
    assert sorted(line for line, _ in written(ast.parse(source))) == [1, 2, 3, 4]
