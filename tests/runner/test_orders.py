"""The order of data: each pass has its own, whoever chooses it, and a sampler is told which pass begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import ClassBalancedSampler, DefaultSampler, InfiniteSampler, TrainBatches
from seg_runner.randomness import Randomness
from torch.utils.data import DataLoader, RandomSampler, Sampler, WeightedRandomSampler

DATA = range(30)


class Turned(Sampler[int]):
    """A sampler of a user's own: pass p begins with index p."""

    def __init__(self, data: Any) -> None:
        self.size, self.epoch = len(data), -1

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        return iter([(index + self.epoch) % self.size for index in range(self.size)])

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


SAMPLERS: dict[str, Callable[[Any], Any]] = {
    "torch": RandomSampler,
    "default": lambda data: DefaultSampler(data, seed=5),
    "infinite": lambda data: InfiniteSampler(data, seed=5),
    "balanced": lambda data: ClassBalancedSampler(data, 0.5, presence=np.eye(len(data)), seed=5),
    "weighted": lambda data: WeightedRandomSampler([1.0] * len(data), len(data)),
    "own generator": lambda data: RandomSampler(data, True, len(data), generator=torch.Generator()),
    "own": Turned,
}


def shown(sampler: Callable[[Any], Any], stream: str, skip: int = 0, count: int = 10_000) -> list[int]:
    """The indices of a few passes, from the batch `skip` on."""
    loader = DataLoader(DATA, batch_size=10, sampler=sampler(DATA))
    batches = TrainBatches(loader, Randomness(seed=5, stream=stream))
    batches.seek(skip)
    return [int(index) for batch in islice(batches, min(count, 3 * len(loader))) for index in batch]


@pytest.mark.parametrize("stream", ["sample", "mmengine"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_no_pass_has_the_order_of_the_one_before(name: str, stream: str) -> None:
    indices, size = shown(SAMPLERS[name], stream), len(SAMPLERS[name](DATA))
    assert indices[:size] != indices[size : 2 * size]
    assert indices[:size] != indices[2 * size : 3 * size]


@pytest.mark.parametrize("stream", ["sample", "mmengine"])
def test_a_sampler_is_told_which_pass_begins(stream: str) -> None:
    assert shown(Turned, stream)[::30] == [0, 1, 2]
    assert shown(Turned, stream, skip=7, count=2) == [*range(12, 22), *range(22, 30), 0, 1]
