"""What differs between two configs, by key path."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, NamedTuple

from seg_registry.config.write_python import dotted_name
from seg_registry.values.marked_dict import MISSING

__all__ = ["Change", "Diff", "diff"]


class Change(NamedTuple):
    """One difference: the key path, and the value on either side (`Diff.missing` where there is none)."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.old is MISSING:
            return f"+ {self.path} = {self.new!r}"
        if self.new is MISSING:
            return f"- {self.path} = {self.old!r}"
        return f"  {self.path}: {self.old!r} -> {self.new!r}"


class Diff(list[Change]):
    """The changes from one config to another; prints as one line each, empty when the configs are equal."""

    missing = MISSING

    def __str__(self) -> str:
        return "\n".join(str(change) for change in self)


def diff(one: object, other: object) -> Diff:
    """Return the changes from one to the other; order of keys does not count, NaN equals NaN, a class its name."""
    return Diff(_changes(one, other, ""))


def _changes(one: object, other: object, path: str) -> Iterator[Change]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            here = f"{path}.{key}" if path else str(key)
            yield from _changes(one.get(key, MISSING), other.get(key, MISSING), here)
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and _same_kind(one, other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _changes(left, right, f"{path}.{index}")
    elif not _equal(one, other):
        yield Change(path, one, other)


def _same_kind(one: Sized, other: Sized) -> bool:
    return type(one) is type(other) and len(one) == len(other)


def _equal(one: object, other: object) -> bool:
    if one is MISSING or other is MISSING:
        return one is other
    if isinstance(one, float) and isinstance(other, float) and one != one:
        return other != other
    if isinstance(one, set | frozenset) and isinstance(other, set | frozenset) and type(one) is type(other):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return type(_named(one)) is type(_named(other)) and bool(_named(one) == _named(other))


def _named(value: object) -> Any:
    return dotted_name(value) if callable(value) else value
