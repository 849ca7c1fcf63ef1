"""The files that a config builds on: what `_base_` names, where that lies, and what several bases say together."""

from __future__ import annotations

import os
from typing import NamedTuple

from seg_registry.errors import ConfigError, ConfigFileError, ConfigKeyError, ConfigTypeError, LimitError
from seg_registry.evaluator.imports import package_folder
from seg_registry.values.budget import Budget
from seg_registry.values.marked_dict import MarkedDict
from seg_registry.values.origins import Chain, Mark, chain_of

__all__ = ["Base", "base_entries", "find_bases", "union"]


class Base(NamedTuple):
    """A file that `_base_` names; `scope` is the package of a `package::path`, else ''."""

    path: str
    scope: str


def base_entries(value: object, file: str, line: int) -> list[str]:
    """Return the value of `_base_` as a list."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(each, str) for each in entries):
        raise ConfigTypeError(f"_base_ must be a path or a list of paths, got {value!r}", file=file, line=line)
    return list(entries)


def find_bases(entries: list[str], file: str, line: int) -> list[Base]:
    """Return where the bases lie: paths start at the folder of the file, `package::path` lies in that package."""
    folder = os.path.dirname(file)
    return [
        _in_package(entry, file, line) if "::" in entry else Base(os.path.normpath(os.path.join(folder, entry)), "")
        for entry in entries
    ]


def _in_package(entry: str, file: str, line: int) -> Base:
    name, _, inside = entry.partition("::")
    if "::" in inside or not inside:
        raise ConfigError(f"{entry!r} is not of the form package::path/inside.py", file=file, line=line)
    try:
        folder = package_folder(name)
    except ConfigFileError as error:
        raise ConfigFileError(f"{entry!r}: {error.message}", file=file, line=line) from error
    places = [os.path.join(folder, *place, inside) for place in ((".mim", "configs"), ("configs",), ())]
    for path in places:
        if os.path.isfile(path):
            return Base(path, name)
    raise ConfigFileError(f"cannot find the base {entry!r}: there is none of {', '.join(places)}", file=file, line=line)


def union(parts: list[tuple[Base, MarkedDict]], budget: Budget, file: str, line: int) -> MarkedDict:
    """Return the values of several bases together.

    A top-level key in two of them is an error that shows both places, unless the values are equal: those of a base
    that is reached by two ways are.
    """
    tables = [_scoped_values(table, base.scope) if base.scope else table for base, table in parts]
    if len(tables) == 1:
        return tables[0]
    result = MarkedDict(file=file)
    marks: dict[object, Chain] = {}
    for table in tables:
        try:
            doubled = [key for key in table if key in result and not _equal(table[key], result[key], budget)]
        except LimitError as error:
            raise LimitError(error.message, file=file, line=line) from error
        if doubled:
            raise _doubled(doubled, marks, table, file, line)
        for key in table:
            if key not in result:
                result[key] = table[key]
                marks[key] = chain_of(table, key)
    result._marks_ = marks
    return result


def _equal(one: object, other: object, budget: Budget) -> bool:
    if one is other:
        return True
    from seg_registry.config.diff import diff  # for the few configs that need it

    budget.spend(budget.spend_on(one) + budget.spend_on(other))
    return not diff(one, other)


def _doubled(keys: list[object], marks: dict[object, Chain], table: MarkedDict, file: str, line: int) -> ConfigKeyError:
    key = keys[0]
    places = [Mark(*chain[-1]) for chain in (marks.get(key, ()), chain_of(table, key)) if chain]
    shown = " and ".join(str(place) for place in places)
    names = ", ".join(repr(each) for each in keys)
    return ConfigKeyError(
        f"two bases set the same top-level key {names} to different values{f' ({shown})' if shown else ''}; "
        "keep it in one of them",
        file=file,
        line=line,
    )


def _scoped_values(table: MarkedDict, scope: str) -> MarkedDict:
    """Return the values of a base from another package: each outermost dict with a `type` gets `_scope_`."""
    return table.with_values({key: _scoped(value, scope) for key, value in table.items()})


def _scoped(value: object, scope: str) -> object:
    if isinstance(value, MarkedDict):
        if "type" in value:
            return value.with_values({"_scope_": scope, **value})
        return _scoped_values(value, scope)
    if isinstance(value, list | tuple):
        return type(value)([_scoped(each, scope) for each in value])
    return value
