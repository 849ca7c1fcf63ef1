"""The third step of loading: a text as a syntax tree or as data, and the files that it builds on."""

from __future__ import annotations

import ast
import os
from typing import NamedTuple, TypeGuard

from seg_registry.config.bases import Base, base_entries, find_bases
from seg_registry.config.read import Source
from seg_registry.config.templates import Filled
from seg_registry.errors import ConfigError, ConfigFileError
from seg_registry.evaluator.evaluator import Evaluator, parse_python
from seg_registry.evaluator.imports import BaseImport, base_imports
from seg_registry.values.marked_dict import DottedName, MarkedDict

__all__ = ["Parsed", "parse"]


class Parsed(NamedTuple):
    """A parsed file: what is to be evaluated, and the files that it builds on, which are to be loaded first."""

    filled: Filled
    content: ast.Module | MarkedDict
    """The syntax tree of a Python file; the values of a data file, or of a file that was evaluated and kept."""
    bases: list[Base]
    line: int
    """Where `_base_` stands."""
    imports: list[BaseImport]
    """The imports inside `with read_base():`."""
    notes: list[tuple[int, str]]
    """Remarks on the file, with their lines."""
    imported: dict[str, DottedName]
    """The names that the imports of a file bound that was evaluated and kept."""

    @property
    def source(self) -> Source:
        """The file as it was read."""
        return self.filled.source


def parse(filled: Filled, *, trusted: bool) -> Parsed:
    """Parse a text in the format of its file's suffix; the imports of a trusted file are left to Python."""
    path = filled.source.path
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".py":
        return _parse_python(filled, path, trusted)
    if suffix in (".json", ".yaml", ".yml", ".toml"):
        from seg_registry.config.parse_data import parse_data

        values, entries = parse_data(filled.text, path, suffix)
        return Parsed(filled, values, find_bases(entries, path, 1), 1, [], [], {})
    kind = f"not {suffix}" if suffix else "and this file has no suffix"
    raise ConfigFileError(f"a config is a .py, .json, .yaml, .yml or .toml file, {kind}", file=path)


def _parse_python(filled: Filled, path: str, trusted: bool) -> Parsed:
    tree = parse_python(filled.text, path)
    imports = [] if trusted else base_imports(tree, path)
    found = [(place, each) for place, each in enumerate(tree.body) if _sets_base(each)]
    notes = [(each.lineno, "a second _base_ is ignored; the first one counts") for _, each in found[1:]]
    ignored = "_base_ is ignored inside if or for, and as one of several targets"
    notes += [(node.lineno, ignored) for node in _ignored(tree)]
    if not found:
        return Parsed(filled, tree, [], 1, imports, notes, {})
    place, statement = found[0]
    if imports:
        message = "_base_ and read_base() cannot be used in one file"
        raise ConfigError(message, file=path, line=statement.lineno)
    entries = base_entries(_value(statement, tree.body[:place], path), path, statement.lineno)
    return Parsed(filled, tree, find_bases(entries, path, statement.lineno), statement.lineno, [], notes, {})


def _sets_base(statement: ast.AST) -> TypeGuard[ast.Assign]:
    return isinstance(statement, ast.Assign) and any(
        target.__class__ is ast.Name and target.id == "_base_" for target in statement.targets
    )


def _ignored(tree: ast.Module) -> list[ast.stmt | ast.expr]:
    """Return the assignments to `_base_` that do not count: inside a block, or as one of several targets."""
    blocks = [each for each in tree.body if isinstance(each, ast.If | ast.For)]
    inside = [each for block in blocks for each in ast.walk(block) if _sets_base(each)]
    targets = [target for each in tree.body if isinstance(each, ast.Assign) for target in each.targets]
    several = [each for target in targets if isinstance(target, ast.Tuple | ast.List) for each in ast.walk(target)]
    return [*inside, *(each for each in several if isinstance(each, ast.Name) and each.id == "_base_")]


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
