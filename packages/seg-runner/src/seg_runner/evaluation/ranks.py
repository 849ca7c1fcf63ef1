"""Metrics on several ranks: sums over all of them, and which samples are padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.process.device import pick_device

__all__ = ["PaddingFilter", "rank_and_world", "sum_over_ranks"]

Sample = TypeVar("Sample")


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) where nothing is distributed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def sum_over_ranks(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the element-wise sum over all ranks, the same everywhere; the values themselves with one process."""
    if rank_and_world()[1] == 1:
        return values
    on_cpu = torch.distributed.get_backend() in ("gloo", "mpi")  # others send between accelerators only
    total = torch.from_numpy(np.array(values)).to("cpu" if on_cpu else pick_device())
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()


class PaddingFilter(Generic[Sample]):
    """Leaves out the samples that only pad a data set, by keeping a rank's last one until it is known what it is.

    Samplers give every rank the same number of samples and repeat some for that. Rank r's k-th sample is number
    k * world + r of the data set, so at most the last one of a rank can be a repetition.

    Args:
        take: is called with each sample that counts, in order.
    """

    def __init__(self, take: Callable[[Sample], None]) -> None:
        self._take = take
        self._kept: list[Sample] = []
        self.seen = 0
        self._rank, self._world = 0, 1

    def add(self, sample: Sample) -> None:
        """Hand over a sample; with one process it counts at once."""
        if not self.seen:
            self._rank, self._world = rank_and_world()
        self.seen += 1
        if self._world == 1:
            self._take(sample)
            return
        if self._kept:
            self._take(self._kept.pop())
        self._kept.append(sample)

    def finish(self, size: int) -> int:
        """Count the sample that was kept, unless its number is beyond the `size` of the data set; begin anew.

        Returns:
            How many samples were seen, on all ranks together.
        """
        if self._kept and (self.seen - 1) * self._world + self._rank < size:
            self._take(self._kept[0])
        self._kept.clear()
        seen, self.seen = self.seen, 0
        return int(sum_over_ranks(np.array(seen)))
