"""What can be read off a data loader, and the epoch that its sampler is told."""

from __future__ import annotations

from collections.abc import Sized

__all__ = ["batch_size_of", "length_of", "set_epoch"]


def length_of(loader: object) -> int | None:
    """Return the number of batches of a pass; None where nobody can tell, as over an iterable data set.

    Example:
        >>> length_of([1, 2, 3]), length_of(iter([1]))
        (3, None)
    """
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except (TypeError, NotImplementedError):
        return None


def batch_size_of(loader: object) -> int | None:
    """Return how many samples are in a batch; None where the loader does not say it.

    >>> batch_size_of([1, 2, 3]) is None
    True
    """
    for one in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(one, "batch_size", None)
        if isinstance(size, int):
            return size
    return None


def set_epoch(loader: object, epoch: int) -> None:
    """Set the epoch of the loader's sampler where it has one."""
    sampler = getattr(loader, "sampler", None)
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    for candidate in (sampler, inner):
        tell = getattr(candidate, "set_epoch", None)
        if callable(tell):
            tell(epoch)
            return
