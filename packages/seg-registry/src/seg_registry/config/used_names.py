"""Which names the files of a config read: a top-level name that nothing reads may be a slip of the keyboard."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from seg_registry.errors import ConfigError
from seg_registry.evaluator.calls import MUTATING
from seg_registry.evaluator.evaluator import parse_python

__all__ = ["used_names"]

_TEMPLATE = re.compile(r"\{\{.*?\}\}")
_OF_BASE = re.compile(r"\{\{\s*_base_\.(\w+)")


def used_names(texts: Iterable[tuple[str, bytes]]) -> set[str]:
    """Return the names whose values go into something: read by name, as `_base_.name`, or in a template.

    What is only changed, such as `x` in `x.update(y=1)` or `x.y = 1`, is not read.
    """
    names: set[str] = set()
    for path, data in texts:
        text = data.decode("utf-8-sig", errors="replace")
        names |= set(_OF_BASE.findall(text))
        if not path.endswith((".json", ".yaml", ".yml", ".toml")):
            names |= _read_in_python(_TEMPLATE.sub("0", text), path)
    return names


def _read_in_python(text: str, path: str) -> set[str]:
    try:
        tree = parse_python(text, path)
    except ConfigError:  # such as the text of a config that was made from a dict
        return set(re.findall(r"\w+", text))
    changed = {id(_begin(each)) for node in ast.walk(tree) for each in _changed(node)}
    return {_name(node) for node in ast.walk(tree) if id(_begin(node)) not in changed} - {""}


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """Return what a statement changes in place."""
    if isinstance(node, ast.Assign | ast.Delete):
        yield from node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        yield node.target
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and function.attr in MUTATING:
            yield function.value


def _begin(node: ast.AST) -> ast.AST:
    """Return the name that a path such as `a.b[0]` begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node


def _name(node: ast.AST) -> str:
    """Return the top-level name that an expression reads, '' for none."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id != "_base_":
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "_base_":
        return str(node.slice.value) if isinstance(node.slice, ast.Constant) else ""
    return ""
