"""Metrics on several ranks: sums over all of them, results in the order of samples, and which samples are padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.distributed.world import World, adopt_world
from seg_runner.process.device import pick_device

__all__ = ["PaddingFilter", "exact_sum", "put_in_order", "rank_and_world", "sum_over_ranks"]

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
    k * world + r of the data set, so at most the last one of a rank can be a repetition. Where all ranks together saw
    no more samples than there are, none is.

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
        total = int(sum_over_ranks(np.array(self.seen)))
        if self._kept and (total <= size or (self.seen - 1) * self._world + self._rank < size):
            self._take(self._kept[0])
        self._kept.clear()
        self.seen = 0
        return total


def exact_sum(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the sum of all ranks' rows, correctly rounded: so it does not depend on who saw which sample.

    >>> exact_sum(np.array([[1e16, 1.0], [1.0, 2.0], [-1e16, 3.0]]))
    array([1., 6.])
    """
    if rank_and_world()[1] > 1:
        rows = np.concatenate(adopt_world().gather(rows))
    return np.array([math.fsum(column) if np.isfinite(column).all() else column.sum() for column in rows.T])


def put_in_order(metric: Any, world: World, numbers: Sequence[int], counts: Sequence[int]) -> bool:
    """Put a metric's `results`, a list with one for each sample, where it would have them if samples were dealt singly.

    MMEngine's metrics take the k-th result of rank r for that of sample k * ranks + r. A metric that collects nothing
    gets those of all ranks, in order.

    Args:
        metric: Has a list `results`.
        world: The processes.
        numbers: Of the batches that this rank has seen.
        counts: How many samples each had.

    Returns:
        Whether that was done; not where there are more or fewer results than samples.
    """
    results = list(metric.results)
    told = world.gather((list(numbers), list(counts), results if len(results) == sum(counts) else None))
    if any(of_rank is None for _, _, of_rank in told):
        return False
    pieces: dict[int, list[Any]] = {}
    for own_numbers, own_counts, of_rank in told:
        rest = iter(of_rank or ())
        for number, count in zip(own_numbers, own_counts, strict=True):
            pieces[number] = [next(rest) for _ in range(count)]
    ordered = [result for number in sorted(pieces) for result in pieces[number]]
    if hasattr(metric, "collect_device") and ordered:
        ordered += (ordered * world.size)[
            : -len(ordered) % world.size
        ]  # as many on all ranks; what is too much is cut off there
        ordered = ordered[world.rank :: world.size]
    metric.results = ordered
    return True
