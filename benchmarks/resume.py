"""Resuming: time to the first batch against the iteration that a run goes on from, and samples read on the way.

Bare: the same loader, from the beginning. What the reference does (fetch and drop every batch) is measured for small N.
"""

from __future__ import annotations

import time
from itertools import islice

import torch
from _measure import print_table
from seg_runner.data.samplers import DefaultSampler, InfiniteSampler
from seg_runner.data.stream import TrainBatches
from seg_runner.process.randomness import Randomness
from torch.utils.data import DataLoader, Dataset


class Slow(Dataset[torch.Tensor]):
    """20,000 samples of 1 ms each; counts how many were read."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 20_000

    def __getitem__(self, index: int) -> torch.Tensor:
        self.reads += 1
        end = time.perf_counter() + 1e-3
        while time.perf_counter() < end:
            pass
        return torch.zeros(3)


def first_batch(kind: type, iteration: int, workers: int) -> tuple[float, int]:
    """Seconds from a fresh process's state to the first batch, and samples read in this process."""
    data = Slow()
    loader = DataLoader(data, 8, sampler=kind(data, seed=0), num_workers=workers)
    start = time.perf_counter()
    batches = TrainBatches(loader, Randomness(seed=0))
    batches.seek(iteration)
    next(batches)
    seconds = time.perf_counter() - start
    batches.close()
    return seconds, data.reads


def dropped(iteration: int) -> float:
    """Seconds to the first batch where every batch before it is fetched and dropped."""
    data = Slow()
    loader = DataLoader(data, 8, sampler=DefaultSampler(data, seed=0))
    start = time.perf_counter()
    next(islice(iter(loader), iteration, None))
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    first_batch(DefaultSampler, 0, 2)
    rows = []
    for iteration in (0, 100, 10_000, 1_000_000):
        row = [str(iteration)]
        for kind in (DefaultSampler, InfiniteSampler):
            seconds, reads = min(first_batch(kind, iteration, 0) for _ in range(5))
            row += [f"{seconds * 1e3:.1f}", str(reads)]
        row.append(f"{min(first_batch(DefaultSampler, iteration, 2)[0] for _ in range(3)) * 1e3:.1f}")
        row.append(f"{dropped(iteration) * 1e3:.1f}" if iteration <= 100 else "-")
        rows.append(row)
    header = ["resumed at", "Default ms", "read", "Infinite ms", "read", "2 workers ms", "fetch and drop ms"]
    print_table("time to the first batch (8 samples of 1 ms)", header, rows)
    print("\nThe reference fetches and drops: its time grows by a batch per iteration.")


if __name__ == "__main__":
    main()
