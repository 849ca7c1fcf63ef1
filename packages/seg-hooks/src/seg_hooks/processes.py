"""This process among several."""

from __future__ import annotations

from torch import Tensor, distributed

__all__ = []


def is_distributed() -> bool:
    """Tell whether a process group is there."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number; 0 without distributed training."""
    return distributed.get_rank() if is_distributed() else 0


def agreed(flag: Tensor) -> Tensor:
    """Return a boolean, on its device, that is True where it is on all ranks; called by all of them alike."""
    if not is_distributed() or distributed.get_world_size() == 1:
        return flag
    box = flag.int()
    distributed.all_reduce(box, op=distributed.ReduceOp.MIN)
    return box.bool()
