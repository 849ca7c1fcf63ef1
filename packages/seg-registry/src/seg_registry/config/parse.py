"""The third step of loading: a text as a syntax tree or as data, and the files that it builds on."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from typing import NamedTuple, TypeGuard

from seg_registry.config.bases import Base, base_entries, find_bases
from seg_registry.config.templates import Filled
from seg_registry.errors import ConfigError, ConfigFileError
from seg_registry.evaluator.evaluator import Evaluator, parse_python
from seg_registry.evaluator.imports import BaseImport, base_imports
from seg_registry.values.marked_dict import DottedName, MarkedDict

__all__ = ["Parsed", "parse"]

_BLOCKS = (ast.If, ast.For)
_SEVERAL = (ast.Tuple, ast.List)


class Parsed(NamedTuple):
    """A parsed file: what is to be evaluated, and the files that it builds on, which are to be loaded first."""

    path: str
    content: ast.Module | MarkedDict
    """The syntax tree of a Python file; the values of a data file, or of a file that was evaluated and kept."""
    placeholders: dict[str, str]
    """The names that stand for values of the base, with their paths there."""
    bases: list[Base]
    line: int
    """Where `_base_` stands."""
    imports: list[BaseImport]
    """The imports inside `with read_base():`."""
    notes: list[tuple[int, str]]
    """Remarks on the file, with their lines."""
    reusable: bool
    """Whether nothing but the file's own text went into it."""
    imported: dict[str, DottedName]
    """The names that the imports of a file bound that was evaluated and kept."""


def parse(filled: Filled, *, trusted: bool) -> Parsed:
    """Parse a text in the format of its file's suffix; the imports of a trusted file are left to Python."""
    path = filled.source.path
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".py":
        return _parse_python(filled, path, trusted)
    if suffix in (".json", ".yaml", ".yml", ".toml"):
        from seg_registry.config.parse_data import parse_data

        values, entries = parse_data(filled.text, path, suffix)
        bases = find_bases(entries, path, 1)
        return Parsed(path, values, filled.placeholders, bases, 1, [], [], not filled.has_templates, {})
    kind = f"not {suffix}" if suffix else "and this file has no suffix"
    raise ConfigFileError(f"a config is a .py, .json, .yaml, .yml or .toml file, {kind}", file=path)


def _parse_python(filled: Filled, path: str, trusted: bool) -> Parsed:
    tree = parse_python(filled.text, path)
    imports = base_imports(tree, path) if "read_base" in filled.text and not trusted else []
    found = [(place, each) for place, each in enumerate(tree.body) if _sets_base(each)]
    notes = [(each.lineno, "a second _base_ is ignored; the first one counts") for _, each in found[1:]]
    ignored = "_base_ is ignored inside if or for, and as one of several targets"
    notes += [(node.lineno, ignored) for node in _ignored(tree)]
    bases, line = [], 1
    if found:
        place, statement = found[0]
        line = statement.lineno
        if imports:
            raise ConfigError("_base_ and read_base() cannot be used in one file", file=path, line=line)
        bases = find_bases(base_entries(_value(statement, tree.body[:place], path), path, line), path, line)
    reusable = not (filled.has_templates or imports or trusted)
    return Parsed(path, tree, filled.placeholders, bases, line, imports, notes, reusable, {})


def _sets_base(statement: ast.AST) -> TypeGuard[ast.Assign]:
    return isinstance(statement, ast.Assign) and any(
        target.__class__ is ast.Name and target.id == "_base_" for target in statement.targets
    )


def _ignored(tree: ast.Module) -> Iterator[ast.stmt | ast.expr]:
    """Find the assignments to `_base_` that do not count: inside a block, or as one of several targets."""
    for statement in tree.body:
        if isinstance(statement, _BLOCKS):
            yield from (each for each in ast.walk(statement) if _sets_base(each))
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, _SEVERAL):
                    yield from (each for each in ast.walk(target) if isinstance(each, ast.Name) and each.id == "_base_")


def _value(statement: ast.Assign, before: list[ast.stmt], file: str) -> object:
    """Return the value of `_base_`. It is needed first; where it uses names, the statements above are evaluated too."""
    used = _names(statement.value, ast.Load) - _names(statement.value, ast.Store)
    made = {name for each in before for name in _names(each, ast.Store)}
    found = ast.copy_location(ast.Assign([ast.Name("base", ast.Store())], statement.value), statement)
    module = ast.Module([*(before if used & made else ()), found], [])
    try:
        return Evaluator(file, origins=False).run(module)["base"]
    except ConfigError as error:
        if error.line != statement.lineno:
            raise
        raise type(error)(f"in _base_: {error.message}", file=file, line=error.line) from error


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}
