"""Names that installed packages offer through entry points: looking one up imports one module."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

__all__ = ["entries", "is_installed"]


@lru_cache(maxsize=4)
def _all(path: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return every entry point of our groups, by group and name; read once for each import path."""
    from importlib.metadata import distributions

    groups: dict[str, dict[str, Any]] = {}
    for entry in (entry for each in distributions() for entry in each.entry_points):
        if entry.group.startswith("seg_engine."):
            groups.setdefault(entry.group, {}).setdefault(entry.name, entry)
    return groups


def entries(group: str) -> dict[str, Any]:
    """Return the entry points of one group by name."""
    return _all(tuple(sys.path)).get(group, {}) if group else {}


def is_installed(package: str) -> bool:
    """Tell whether a package belongs to an installed distribution (a folder that merely lies about does not)."""
    return _is_installed(package, tuple(sys.path))


@lru_cache(maxsize=64)
def _is_installed(package: str, _path: tuple[str, ...]) -> bool:
    """Look for the distribution; once for each state of `sys.path`, which programs and tests change."""
    from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

    try:
        distribution(package)
    except PackageNotFoundError:
        return package in packages_distributions()
    return True
