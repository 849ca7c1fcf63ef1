"""Inherited, overridable configs that are data, and registries that explain a miss. Runs no config code."""

from __future__ import annotations

from seg_registry.__about__ import __version__

__all__ = ["__version__"]
