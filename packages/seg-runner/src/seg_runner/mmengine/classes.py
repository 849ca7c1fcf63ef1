"""Which classes were written for MMEngine: told by their bases and by its registries, without importing anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["is_of_mmengine", "is_registered", "is_written_for_mmengine"]

PACKAGE = "mmengine"


def is_of_mmengine(kind: object) -> bool:
    """Tell whether a class is one of MMEngine's, or derives from one.

    >>> is_of_mmengine(dict)
    False
    """
    bases = getattr(kind, "__mro__", ())
    return any(str(getattr(base, "__module__", "")).partition(".")[0] == PACKAGE for base in bases)


def is_written_for_mmengine(kind: object, registry: str) -> bool:
    """Tell whether a class derives from one of MMEngine's, or is registered in this registry of it."""
    return is_of_mmengine(kind) or any(kind is one for table in _tables(registry) for one in table.values())


def is_registered(name: str, registry: str) -> bool:
    """Tell whether this registry of MMEngine, or one below it, has a name; a scope may stand before it."""
    return any(name.rpartition(".")[2] in table for table in _tables(registry))


def _tables(registry: str) -> Iterator[dict[str, Any]]:
    waiting = [getattr(sys.modules.get(f"{PACKAGE}.registry"), registry, None)]
    while waiting:
        one = waiting.pop()
        yield getattr(one, "module_dict", {})
        waiting += getattr(one, "children", {}).values()
