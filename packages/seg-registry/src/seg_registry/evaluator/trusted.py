"""Executing a Python config that the caller trusts: ordinary Python, the same rules for bases and results."""

from __future__ import annotations

import ast
from types import FunctionType, ModuleType
from typing import Any

from seg_registry.errors import ConfigError
from seg_registry.evaluator.evaluator import MODULE_NAME, Evaluator
from seg_registry.values.config_dict import to_builtins
from seg_registry.values.marked_dict import MarkedDict

__all__ = ["execute"]


def execute(tree: ast.Module, ev: Evaluator) -> MarkedDict:
    """Run the module; functions, modules and names with two leading underscores are left out of the result."""
    names: dict[str, Any] = {"__file__": ev.file, "__name__": MODULE_NAME}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if "_base_" in used and ev.base is not None:
        module = ast.Module([each for each in tree.body if not _is_base(each)], [])
        if any(isinstance(node, ast.Name) and node.id == "_base_" for node in ast.walk(module)):
            names["_base_"] = ev.missing_name("_base_")
            tree = module
    for placeholder, path in ev.placeholders.items():
        names[placeholder] = ev.base_at(path)
    try:
        exec(compile(tree, ev.file, "exec"), names)  # the caller said trusted=True
    except ConfigError:
        raise
    except Exception as error:
        error.add_note(f"while executing the trusted config {ev.file}")
        raise
    lines = _assigned(tree)
    kept = {name: _with_marks(value, ev) for name, value in names.items() if _is_value(name, value, ev)}
    return MarkedDict(kept, file=ev.file, marks={name: lines.get(name, 1) for name in kept})


def _is_base(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "_base_"


def _is_value(name: str, value: object, ev: Evaluator) -> bool:
    private = name.startswith("__") or name == "_base_" or name in ev.placeholders
    return not private and not isinstance(value, FunctionType | ModuleType)


def _assigned(tree: ast.Module) -> dict[str, int]:
    """Return the line of the last assignment of each name."""
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return {node.id: node.lineno for node in sorted(stored, key=lambda node: node.lineno)}


def _with_marks(value: object, ev: Evaluator) -> Any:
    value = to_builtins(value)
    if isinstance(value, dict):
        return MarkedDict({key: _with_marks(each, ev) for key, each in value.items()}, file=ev.file)
    if type(value) is list or type(value) is tuple:
        return type(value)([_with_marks(each, ev) for each in value])
    return ev.filled(value) if type(value) is str and ev.placeholders else value
