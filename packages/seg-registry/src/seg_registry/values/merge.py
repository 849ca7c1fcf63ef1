"""Merging a child config over its base: pure, sharing what does not change."""

from __future__ import annotations

from typing import Any

from seg_registry.errors import ConfigTypeError
from seg_registry.values.draft import MISSING, Draft
from seg_registry.values.origins import chain_of

__all__ = ["merged"]


def merged(child: Any, base: Any, path: str = "") -> Draft:
    """The child over the base, neither changed; values that the child does not touch are shared with the base.

    A dict merges into a dict key by key; with a truthy `_delete_` it replaces whatever was there; anything else
    replaces. `_delete_` where there is nothing to delete stays as a key, as in MMEngine; the builder ignores it.
    """
    result = Draft(base, file=base._file_)
    marks = dict(base._marks_)
    for key, value in child.items():
        old = base.get(key, MISSING)
        if old is not MISSING and isinstance(value, dict):
            value = _over(value, old, f"{path}.{key}" if path else str(key), (child, key))
        result[key] = value
        chain = chain_of(child, key)
        if chain:
            marks[key] = chain_of(base, key) + chain
    result._marks_ = marks
    return result


def _over(value: Any, old: Any, path: str, at: tuple[Any, Any]) -> Any:
    if value.get("_delete_"):
        return _replacing(value, old)
    if not isinstance(old, dict):
        place = chain_of(*at)
        file, line = (place[-1][0], place[-1][1]) if place else (None, None)
        raise ConfigTypeError(
            f"a dict cannot be merged over {type(old).__name__} {old!r} at '{path}'; "
            "add _delete_=True to the dict to replace the base value",
            file=file,
            line=line,
        )
    if "_delete_" in value:
        value = Draft(value, file=value._file_, marks=value._marks_)
        del value["_delete_"]
    return merged(value, old, path)


def _replacing(value: Any, old: Any) -> Draft:
    """A dict that replaces another: its own keys, each with the history of the key that it replaces."""
    result = Draft(value, file=value._file_)
    del result["_delete_"]
    marks = dict(value._marks_)
    if isinstance(old, dict):
        for key in result:
            before = chain_of(old, key)
            if before:
                marks[key] = before + chain_of(value, key)
    result._marks_ = marks
    return result
