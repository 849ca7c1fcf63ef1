"""This process among several."""

from __future__ import annotations

from torch import distributed

__all__ = []


def is_distributed() -> bool:
    """Tell whether a process group is there."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number; 0 without distributed training."""
    return distributed.get_rank() if is_distributed() else 0
