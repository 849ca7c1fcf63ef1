"""The fourth step of loading: a parsed file as values, once the files that it builds on are loaded."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import NamedTuple

from seg_registry.config.parse import Parsed
from seg_registry.errors import ConfigError
from seg_registry.evaluator.evaluator import Evaluator
from seg_registry.values.config_dict import ConfigDict, wrap
from seg_registry.values.marked_dict import DottedName, MarkedDict

__all__ = ["Evaluated", "evaluate"]


class Evaluated(NamedTuple):
    """What one file says: its own values, not merged yet. Shared between configs, never changed."""

    values: MarkedDict
    base: MarkedDict | ConfigDict | None
    """What they are merged over: the file's own copy where it read `_base_`, for it may have changed that."""
    imported: dict[str, DottedName]
    """The names that imports of the file bound."""
    notes: list[tuple[int, str]]
    """Remarks on the file, with their lines."""
    reusable: bool
    """Whether nothing but the file's own text went into its values."""


def evaluate(
    parsed: Parsed, base: MarkedDict | None, imports: Mapping[str, MarkedDict], *, trusted: bool, origins: bool
) -> Evaluated:
    """Evaluate a file.

    Args:
        parsed: The file.
        base: What its bases say together; None without bases.
        imports: What the files say that it imports inside `with read_base():`, by path.
        trusted: Whether Python files are executed instead.
        origins: Whether the values get to know where they come from.
    """
    content = parsed.content
    if isinstance(content, MarkedDict) and not parsed.placeholders:
        return Evaluated(content, base, parsed.imported, parsed.notes, parsed.reusable)
    copies = {path: _copied(names) for path, names in imports.items()}
    ev = Evaluator(
        parsed.path,
        base=MarkedDict() if base is None else base,
        included={node: copies[path] for node, path in parsed.imports},
        placeholders=parsed.placeholders,
        origins=origins,
    )
    if isinstance(content, MarkedDict):
        values = _fill_in_base_values(content, ev)
    elif trusted:
        values = _execute(content, ev)
    else:
        values = ev.run(content)
    notes = [*parsed.notes, *ev.notes]
    if ev.base_copy is not None:
        return Evaluated(values, ev.base_copy, ev.imported, notes, reusable=False)
    return Evaluated(values, base, ev.imported, notes, parsed.reusable)


def _copied(names: MarkedDict) -> MarkedDict:
    """Return the names of a base as this file's own; imported twice, they are the same objects."""
    return names.with_values({key: value if type(value) is DottedName else wrap(value) for key, value in names.items()})


def _execute(tree: ast.Module, ev: Evaluator) -> MarkedDict:
    from seg_registry.evaluator.trusted import execute

    return execute(tree, ev)


def _fill_in_base_values(values: MarkedDict, ev: Evaluator) -> MarkedDict:
    """Put the values of the base where a JSON, YAML or TOML file has `{{_base_.x}}`."""
    try:
        return _filled_table(values, ev)
    except ConfigError as error:
        raise type(error)(error.message, file=error.file or ev.file, line=error.line) from error
    except (LookupError, TypeError, NameError) as error:
        raise ConfigError(f"{type(error).__name__}: {error}", file=ev.file, line=1) from error


def _filled_table(table: MarkedDict, ev: Evaluator) -> MarkedDict:
    return table.with_values({key: _filled(value, ev) for key, value in table.items()})


def _filled(value: object, ev: Evaluator) -> object:
    if isinstance(value, MarkedDict):
        return _filled_table(value, ev)
    if isinstance(value, list | tuple):
        return type(value)([_filled(each, ev) for each in value])
    return ev.filled(value) if type(value) is str else value
