"""Classes of users that derive from MMEngine's: what they derive from, and what stands in for a class of MMEngine's."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["counts_epochs", "derives_from", "their_class", "with_base"]


def their_class(module: str, name: str) -> type[Any] | None:
    """Return a class of MMEngine's, or None where nobody has imported it."""
    found = getattr(sys.modules.get(f"mmengine.{module}"), name, None)
    return found if isinstance(found, type) else None


def derives_from(what: object, module: str, name: str) -> bool:
    """Tell whether a class, or the class of an object, is one of MMEngine's or derives from it; imports nothing."""
    base, kind = their_class(module, name), what if isinstance(what, type) else type(what)
    return base is not None and issubclass(kind, base)


def counts_epochs(loop: object, *ours: type[Any]) -> bool:
    """Tell whether a training loop counts epochs: one of ours (given), or one that derives from MMEngine's."""
    return isinstance(loop, ours) or derives_from(loop, "runner", "EpochBasedTrainLoop")


def with_base(made: Any, module: str, name: str) -> Any:
    """Return an object of ours that also is an instance of a class of MMEngine's, for code that asks for that.

    It keeps its own methods; where MMEngine is not imported, nobody can ask.
    """
    base = their_class(module, name)
    if base is None or isinstance(made, base):
        return made
    own = type(made)
    made.__class__ = type(own.__name__, (own, base), {"__module__": own.__module__, "__doc__": own.__doc__})
    return made
