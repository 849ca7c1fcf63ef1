"""What a user's code has registered with MMEngine, or with the package of a scope, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

from seg_registry.registry.catalog import Kind
from seg_registry.registry.dotted_names import is_class, why_forbidden

__all__ = ["ENGINE", "has_scope", "is_imported", "registered_by_users"]

ENGINE = "mmengine"
"""The package whose registries are the parents of all scopes'."""

_LIBRARIES = (ENGINE, "mmcv")


def is_imported(package: str) -> bool:
    """Tell whether a package's registries are there to be asked; imports nothing."""
    return f"{package}.registry" in sys.modules


def has_scope(kinds: Iterable[Kind], name: str) -> bool:
    """Tell whether the user's code has made a registry with this scope, below one of MMEngine's."""
    module = sys.modules.get(f"{ENGINE}.registry")
    waiting = [getattr(module, kind.attribute, None) for kind in kinds]
    while waiting:
        below = getattr(waiting.pop(), "children", None) or {}
        if name in below:
            return True
        waiting += below.values()
    return False


def registered_by_users(kind: Kind, name: str, scope: str) -> tuple[Any, str] | None:
    """Return a class of the user's, and the package whose registry has it; None where the name means something else.

    Whoever registers a class over a name of MMEngine's (`force=True`) means that class. It is the user's if the module
    that defines it belongs to neither the package of the registry nor MMEngine or mmcv. The first registry that has
    the name decides, as there: the scope's, then MMEngine's.
    """
    for package, registered in _registries(kind, scope):
        found = registered.get(name)
        if found is None:
            continue
        if str(getattr(found, "__module__", "")).partition(".")[0] in (package, *_LIBRARIES):
            return None
        return (found, package) if _may_be_built(found) else None
    return None


def _registries(kind: Kind, scope: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for package in dict.fromkeys((scope, ENGINE)):
        registry = getattr(sys.modules.get(f"{package}.registry"), kind.attribute, None)
        registered = getattr(registry, "module_dict", None)
        if isinstance(registered, Mapping):
            yield package, registered


def _may_be_built(found: object) -> bool:
    return (is_class(found) or type(found) is FunctionType) and why_forbidden(found) is None
