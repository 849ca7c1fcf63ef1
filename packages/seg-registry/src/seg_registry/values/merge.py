"""Merging a child config over its base: pure, sharing what does not change."""

from __future__ import annotations

from typing import Any

from seg_registry.errors import ConfigTypeError
from seg_registry.values.marked_dict import MISSING, Marked, MarkedDict
from seg_registry.values.origins import chain_of

__all__ = ["merge_over"]


def merge_over(child: dict[Any, Any], base: Marked, path: str = "") -> MarkedDict:
    """Return the child over the base, neither changed; values that the child does not touch are shared with the base.

    A dict merges into a dict key by key; with a truthy `_delete_` it replaces whatever was there; anything else
    replaces. `_delete_` where there is nothing to delete stays as a key, as in MMEngine; the builder ignores it.
    """
    result = MarkedDict(base, file=base._file_)
    marks = dict(base._marks_)
    for key, value in child.items():
        old = base.get(key, MISSING)
        if old is not MISSING and isinstance(value, dict):
            value = _merge_value(value, old, f"{path}.{key}" if path else str(key), (child, key))
        result[key] = value
        chain = chain_of(child, key)
        if chain:
            marks[key] = chain_of(base, key) + chain
    result._marks_ = marks
    return result


def _merge_value(value: dict[Any, Any], old: object, path: str, place: tuple[object, object]) -> MarkedDict:
    """Return a dict over the value that was there; `place` is the dict and the key where it stands."""
    if value.get("_delete_"):
        return _replace(value, old)
    if not isinstance(old, Marked):
        chain = chain_of(*place)
        file, line = (chain[-1][0], chain[-1][1]) if chain else (None, None)
        raise ConfigTypeError(
            f"a dict cannot be merged over {type(old).__name__} {old!r} at '{path}'; "
            "add _delete_=True to the dict to replace the base value",
            file=file,
            line=line,
        )
    if "_delete_" in value:  # a false one, which is no key of the result
        value = _without_delete(value)
    return merge_over(value, old, path)


def _without_delete(value: dict[Any, Any]) -> MarkedDict:
    values = {key: each for key, each in value.items() if key != "_delete_"}
    return MarkedDict(values, file=getattr(value, "_file_", ""), marks=dict(getattr(value, "_marks_", {})))


def _replace(value: dict[Any, Any], old: object) -> MarkedDict:
    """Return a dict that replaces another: its own keys, each with the history of the key that it replaces."""
    result = _without_delete(value)
    if isinstance(old, dict):
        for key in result:
            before = chain_of(old, key)
            if before:
                result._marks_[key] = before + chain_of(value, key)
    return result
