"""The project's source files and what stands in them, read once."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from projects import NAMES, ROOT, Project

PACKAGES = {Project(name).module: Project(name).source for name in NAMES}
PROJECTS = {Project(name).module: Project(name).folder for name in NAMES}


@dataclass(frozen=True)
class Function:
    """One function or method of the sources."""

    where: str
    name: str
    lines: int
    parameters: int
    is_init: bool


def source_files(package: str) -> list[Path]:
    """Python files of a package, without the configs that it ships (those are data)."""
    return sorted(path for path in PACKAGES[package].rglob("*.py") if "configs" not in path.parts)


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, without its docstring."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Named parameters, `self` and `cls` left out."""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def functions(package: str) -> list[Function]:
    """Every function and method of a package."""
    found = []
    for path in source_files(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                found.append(Function(where, node.name, body_lines(node), parameters(node), node.name == "__init__"))
    return found
