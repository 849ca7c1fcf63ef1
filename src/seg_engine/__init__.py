"""The five packages together: the command line `seg`, ready-made data and models, and the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seg_engine.__about__ import __version__

if TYPE_CHECKING:
    from seg_engine.predict import load_model

__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """Look up names that need torch when they are used, so that `seg --help` does not wait for it."""
    if name == "load_model":
        from seg_engine.predict import load_model

        return load_model
    raise AttributeError(f"module 'seg_engine' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all names, those that were not asked for yet, too."""
    return sorted({*globals(), *__all__})
