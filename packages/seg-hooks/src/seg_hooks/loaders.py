"""What can be read off a data loader, and the epoch that its sampler is told."""

from __future__ import annotations

from typing import Any

__all__ = ["keeps_own_state", "length_of", "set_epoch"]


def length_of(loader: Any) -> int | None:
    """Batches of a pass; None where nobody can tell, as over an iterable data set.

    Example:
        >>> length_of([1, 2, 3]), length_of(iter([1]))
        (3, None)
    """
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def set_epoch(loader: Any, epoch: int) -> None:
    """Set the epoch of the loader's sampler where it has one."""
    sampler = getattr(loader, "sampler", None)
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    for candidate in (sampler, inner):
        if callable(getattr(candidate, "set_epoch", None)):
            candidate.set_epoch(epoch)  # type: ignore[union-attr]
            return


def keeps_own_state(loader: Any) -> bool:
    """Whether a loader knows its place itself, as torchdata's StatefulDataLoader does."""
    return all(callable(getattr(loader, name, None)) for name in ("state_dict", "load_state_dict"))
