"""Which files a config builds on: the value of `_base_`, and the paths that it names."""

from __future__ import annotations

import ast
import os
from typing import Any

from seg_registry.errors import ConfigError, ConfigFileError, ConfigTypeError
from seg_registry.evaluate import Evaluator
from seg_registry.lazy import package_folder

__all__ = ["base_of_module", "paths"]


def base_of_module(tree: ast.Module, file: str) -> tuple[list[str], int, list[tuple[int, str]]]:
    """The `_base_` entries of a syntax tree, the line they stand on, and remarks on those that do not count."""
    entries: list[str] | None = None
    at, notes = 1, []
    for statement in tree.body:
        if not _sets_base(statement):
            continue
        if entries is not None:
            notes.append((statement.lineno, "a second _base_ is not taken; the first one counts"))
            continue
        at = statement.lineno
        entries = checked(_closed_value(statement, file), file, at)
    notes += [(node.lineno, "_base_ inside if or for is not taken as a base") for node in _hidden(tree)]
    return entries or [], at, notes


def _sets_base(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and any(
        target.__class__ is ast.Name and target.id == "_base_" for target in statement.targets
    )


def _hidden(tree: ast.Module) -> list[ast.stmt]:
    blocks = [each for each in tree.body if isinstance(each, ast.If | ast.For)]
    return [each for block in blocks for each in ast.walk(block) if isinstance(each, ast.stmt) and _sets_base(each)]


def _closed_value(statement: Any, file: str) -> Any:
    """`_base_` is read before anything else, so its value may use nothing but itself."""
    probe = Evaluator(file, origins=False)
    module = ast.Module(
        [ast.copy_location(ast.Assign([ast.Name("base", ast.Store())], statement.value), statement)], []
    )
    return probe.run(module)["base"]


def checked(value: Any, file: str, line: int) -> list[str]:
    """The entries of a `_base_` value as a list."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(each, str) for each in entries):
        raise ConfigTypeError(f"_base_ must be a path or a list of paths, got {value!r}", file=file, line=line)
    return list(entries)


def paths(entries: list[str], file: str, line: int) -> list[str]:
    """Absolute paths of the entries: relative ones start at the folder of the file, `package::path` in a package."""
    folder = os.path.dirname(file)
    return [
        _in_package(entry, file, line) if "::" in entry else os.path.normpath(os.path.join(folder, entry))
        for entry in entries
    ]


def _in_package(entry: str, file: str, line: int) -> str:
    name, _, inside = entry.partition("::")
    if "::" in inside or not inside:
        raise ConfigError(f"{entry!r} is not of the form package::path/inside.py", file=file, line=line)
    try:
        folder = package_folder(name)
    except ConfigFileError as error:
        raise ConfigFileError(f"{entry!r}: {error.message}", file=file, line=line) from error
    tried = [os.path.join(folder, *place, inside) for place in ((".mim", "configs"), ("configs",), ())]
    for path in tried:
        if os.path.isfile(path):
            return path
    raise ConfigFileError(f"{entry!r} is none of: {', '.join(tried)}", file=file, line=line)


def scope_of(entry: str) -> str:
    """The package of a `package::path` entry, '' for a plain path."""
    return entry.partition("::")[0] if "::" in entry else ""
