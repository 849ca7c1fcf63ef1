"""The order of data: each pass has its own, whoever chooses it, and a sampler is told which pass begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import ClassBalancedSampler, DefaultSampler, InfiniteSampler, TrainBatches
from seg_runner.orders import Position, SampleOrder
from seg_runner.randomness import Randomness
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler

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


class Endless(Sampler[int]):
    """A user's own sampler that never ends, of which one pass is known."""

    endless = True

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from range(self.size)


@pytest.mark.parametrize(
    ("size", "batch", "iteration", "place"),
    [(5, 2, 0, (0, 0)), (5, 2, 2, (0, 4)), (5, 2, 3, (1, 1)), (5, 2, 5, (2, 0)), (5, 2, 8, (3, 1)), (4, 4, 2, (2, 0))],
)
def test_where_an_endless_stream_stands(size: int, batch: int, iteration: int, place: tuple[int, int]) -> None:
    order = SampleOrder(Endless(size), 5, batch)
    assert order.position(iteration) == place
    taken, start = [], Position()
    for keys, start in islice(order.batches(Position()), iteration):  # noqa: B007 (where the last one ends)
        taken += keys
    whole = start.epoch * size + start.offset
    assert whole == len(taken) == iteration * batch


@pytest.mark.parametrize(
    ("size", "drop_last", "iteration", "place"),
    [
        (4, False, 1, (1, 0)),
        (4, True, 2, (2, 0)),
        (9, False, 2, (0, 8)),
        (9, False, 3, (1, 0)),
        (9, True, 3, (1, 4)),
        (3, True, 2, (2, 0)),
        (0, False, 2, (2, 0)),
    ],
)
def test_where_a_run_stands_after_passes_of_few_batches(
    size: int, drop_last: bool, iteration: int, place: tuple[int, int]
) -> None:
    order = SampleOrder(SequentialSampler(range(size)), 5, 4, drop_last)
    assert order.position(iteration) == place


class Half(Sampler[int]):
    """A user's own sampler of part of a data set that it knows."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset) // 2

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


def test_a_pass_is_as_long_as_the_sampler_not_as_its_data() -> None:
    assert SampleOrder(Half(DATA), 5, 5).position(3) == (1, 0)


@pytest.mark.parametrize("make", [DefaultSampler, InfiniteSampler])
def test_two_ranks_share_a_pass(make: Any) -> None:
    order = SampleOrder(make(DATA, seed=5), 5, 5, rank=1, world_size=2)
    assert order.position(3) == (1, 0)
    assert order.position(4) == (1, 10)
