"""Types that mean something: how often the annotation of an argument says nothing, and what functions take.

`./run test tests/architecture/test_types.py tests/architecture/test_wings.py -q -s` prints the counts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.tree import PACKAGES, ROOT, source_files

SHARE = 0.05
"""The most of the annotated arguments that may be `Any`."""
MEMBERS = 5
"""The most that a Protocol may ask for."""

Argument = tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef, ast.arg]


def arguments(package: str) -> Iterator[Argument]:
    """Every annotated argument of every function, `*args` and `**kwargs` too."""
    for path in source_files(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
                yield from ((path, node, each) for each in every if each is not None and each.annotation is not None)


def says_nothing(annotation: ast.expr) -> bool:
    """Tell whether an annotation is `Any`, or a choice that has it: `Any | None` says no more."""
    if isinstance(annotation, ast.BinOp):
        return says_nothing(annotation.left) or says_nothing(annotation.right)
    return ast.unparse(annotation) in ("Any", "typing.Any", "Optional[Any]")


def where(argument: Argument) -> str:
    """Name a place that an editor opens."""
    path, function, each = argument
    return f"{path.relative_to(ROOT)}:{function.lineno} {function.name}({each.arg})"


@pytest.mark.parametrize("package", PACKAGES)
def test_few_arguments_may_be_anything(package: str) -> None:
    every = list(arguments(package))
    nothing = [where(each) for each in every if says_nothing(each[2].annotation)]
    print(f"{package}: {len(nothing)} of {len(every)} annotated arguments are Any ({len(nothing) / len(every):.1%})")
    assert len(nothing) <= SHARE * len(every), nothing


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_function_needs_of_the_runner_is_told(package: str) -> None:
    """`runner: Any` hides which of the runner's attributes a function reads."""
    runners = [each for each in arguments(package) if each[2].arg == "runner"]
    assert not [where(each) for each in runners if says_nothing(each[2].annotation)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_hides_any(package: str) -> None:
    """`Config = Any` would win the count and tell no more."""
    aliases = []
    for path in source_files(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, ast.expr) and says_nothing(value):
                aliases.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not aliases


@pytest.mark.parametrize("package", PACKAGES)
def test_a_facet_has_at_most_five_members(package: str) -> None:
    wide = []
    for path in source_files(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases):
                members = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AnnAssign)]
                if len(members) > MEMBERS:
                    wide.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {len(members)}")
    assert not wide
