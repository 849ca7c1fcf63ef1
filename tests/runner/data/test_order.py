"""The order of data: each pass has its own, whoever chooses it, and a sampler is told which pass begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_runner import ClassBalancedSampler, DefaultSampler, InfiniteSampler, TrainBatches
from seg_runner.data.order import BatchOrder, Position, SampleOrder, order_of, repeats
from seg_runner.process.randomness import Randomness
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


class Listed(Sampler[int]):
    """A user's own sampler that gives these indices."""

    def __init__(self, *indices: int, **attributes: Any) -> None:
        self.indices = indices
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


BEGIN = Position()


def cut(order: Any, start: Position = BEGIN, count: int = 9) -> list[tuple[list[int], tuple[int, int]]]:
    """The indices of each batch, and the position after it."""
    return [([index for _, index, _ in keys], place) for keys, place in islice(order.batches(start), count)]


def test_batches_of_a_pass_and_where_each_ends() -> None:
    order = SampleOrder(Listed(5, 6, 7, 8, 9), 5, 2)
    assert cut(order) == [([5, 6], (0, 2)), ([7, 8], (0, 4)), ([9], (0, 5))]
    assert cut(order, Position(2, 2)) == [([7, 8], (2, 4)), ([9], (2, 5))]
    assert cut(order, Position(1, 5)) == []
    dropping = SampleOrder(Listed(5, 6, 7, 8, 9), 5, 2, drop_last=True)
    assert cut(dropping, Position(1)) == [([5, 6], (1, 2)), ([7, 8], (1, 4))]
    for drop_last in (True, False):
        assert cut(SampleOrder(Listed(5, 6), 5, 2, drop_last)) == [([5, 6], (0, 2))]
    long = cut(SampleOrder(SequentialSampler(range(201)), 5, 1), count=300)
    assert long == [([index], (0, index + 1)) for index in range(201)]


def shares(*orders: Any) -> list[tuple[list[int], float]]:
    """The last batch of each rank's pass, and what its loss counts."""
    last = [list(order.batches(BEGIN))[-1][0] for order in orders]
    return [([index for _, index, _ in keys], getattr(keys, "share", 1.0)) for keys in last]


def test_ranks_take_turns_and_share_what_is_left() -> None:
    first, second = (SampleOrder(Listed(5, 6, 7, 8, 9), 5, 2, rank=rank, world_size=2) for rank in (0, 1))
    assert cut(first) == [([5, 7], (0, 4)), ([9], (0, 5))]
    assert cut(second) == [([6, 8], (0, 4)), ([9], (0, 5))]
    assert shares(first, second) == [([9], 2.0), ([9], 0.0)]
    parts = [SampleOrder(Listed(*range(6)), 5, 2, rank=rank, world_size=4) for rank in range(4)]
    assert shares(*parts) == [([0, 4], 4 / 3), ([1, 5], 4 / 3), ([2], 2 / 3), ([3], 2 / 3)]
    assert [order.position(3) for order in (first, parts[3])] == [(1, 4), (3, 0)]
    assert [order.count() for order in (first, parts[3])] == [2, 1]
    assert shares(*(SampleOrder(Listed(*range(4)), 5, 2, rank=rank, world_size=2) for rank in (0, 1)))[1] == ([1, 3], 1)


def test_a_sampler_that_deals_itself_is_not_dealt_again() -> None:
    for name in ("num_replicas", "world_size"):
        dealt = SampleOrder(Listed(5, 6, 7, **{name: 2}), 5, 2, rank=1, world_size=2)
        assert cut(dealt) == [([5, 6], (0, 2)), ([7], (0, 3))]
        batched = BatchOrder(Listed(**{name: 2}), 5, rank=1, world_size=2)
        assert (batched.rank, batched.world_size) == (0, 1)


@given(size=st.integers(0, 60), batch=st.integers(1, 5), ranks=st.sampled_from([2, 3, 4, 8]), data=st.data())
def test_all_ranks_together_read_the_batches_of_one_process(size: int, batch: int, ranks: int, data: Any) -> None:
    drop_last, seed = data.draw(st.booleans()), data.draw(st.integers(0, 9))
    sampler = data.draw(st.sampled_from([DefaultSampler, SequentialSampler, RandomSampler]))(range(size or 1))
    one = SampleOrder(sampler, seed, batch * ranks, drop_last)
    parts = [SampleOrder(sampler, seed, batch, drop_last, rank, ranks) for rank in range(ranks)]
    start = data.draw(st.integers(0, one.count()))
    whole = list(one.batches(one.position(start)))
    dealt = [list(part.batches(part.position(start))) for part in parts]
    assert {len(each) for each in dealt} == {len(whole)}
    for number, (keys, place) in enumerate(whole):
        mine = [each[number] for each in dealt]
        assert {there for _, there in mine} == {place}
        weights = [getattr(part, "share", 1.0) for part, _ in mine]
        assert sum(weights) == pytest.approx(ranks)
        counted = [part for (part, _), weight in zip(mine, weights, strict=True) if weight]
        assert [part[i] for i in range(batch) for part in counted if i < len(part)] == keys


def test_an_endless_stream_goes_on_in_the_next_pass() -> None:
    order = SampleOrder(Listed(5, 6, 7, endless=True), 5, 2)
    assert cut(order, count=4) == [([5, 6], (0, 2)), ([7, 5], (1, 1)), ([6, 7], (1, 3)), ([5, 6], (2, 2))]
    assert cut(SampleOrder(Listed(5, endless=True), 5, 3), count=2) == [([5, 5, 5], (3, 0)), ([5, 5, 5], (6, 0))]
    first, second = (SampleOrder(Listed(5, 6, 7, endless=True), 5, 1, rank=rank, world_size=2) for rank in (0, 1))
    assert cut(first, count=3) == [([5], (0, 2)), ([7], (1, 1)), ([6], (1, 3))]
    assert cut(second, count=3) == [([6], (0, 2)), ([5], (1, 1)), ([7], (1, 3))]
    assert cut(order, Position(0, 9), count=1) == [([5, 6], (1, 2))]  # resumed with fewer samples than it began with
    with pytest.raises(ValueError, match="Listed gives no index at all: is the data set empty"):
        cut(SampleOrder(Listed(endless=True), 5, 2))
    assert SampleOrder(Listed(endless=True), 5, 2).position(3) == (0, 6)


def test_a_sample_that_comes_again_is_told_from_the_time_before() -> None:
    order = SampleOrder(Listed(3, 3, 1, 3, 1), 5, 2)
    keys = [key for batch, _ in order.batches(Position(4)) for key in batch]
    assert keys == [(4, 3, 0), (4, 3, 1), (4, 1, 0), (4, 3, 2), (4, 1, 1)]
    assert [key for batch, _ in order.batches(Position(4, 2)) for key in batch] == keys[2:]
    batched = BatchOrder(Listed([3, 3, 1], [2, 3]), 5)  # type: ignore[arg-type]
    keys = [key for batch, _ in batched.batches(Position(1)) for key in batch]
    assert keys == [(1, 3, 0), (1, 3, 1), (1, 1, 0), (1, 2, 0), (1, 3, 0)]
    assert [repeats(np.array(each)) for each in ([], [1], [1, 2])] == [None, None, None]
    assert repeats(np.array([2, 2])).tolist() == [0, 1]  # type: ignore[union-attr]


def test_batches_of_a_batch_sampler_are_dealt_to_the_ranks() -> None:
    batches = Listed([1, 2], [3], [4, 5])  # type: ignore[arg-type]
    assert cut(BatchOrder(batches, 5), Position(2, 1)) == [([3], (2, 2)), ([4, 5], (2, 3))]
    first, second = (BatchOrder(batches, 5, rank, 2) for rank in (0, 1))
    assert cut(first) == [([1, 2], (0, 2)), ([4, 5], (0, 4))]
    assert cut(second) == [([3], (0, 2)), ([4], (0, 4))]  # a sample for a rank that has none, which does not count
    assert shares(first, second) == [([4, 5], 2.0), ([4], 0.0)]
    assert next(iter(second.batches(BEGIN)))[0].share == pytest.approx(2 / 3)  # type: ignore[attr-defined]
    assert [first.position(iteration) for iteration in (0, 1, 2, 3)] == [(0, 0), (0, 2), (1, 0), (1, 2)]
    assert BatchOrder(batches, 5).position(4) == (1, 1)
    assert BatchOrder(Listed(), 5).position(2) == (2, 0)


def test_the_order_of_a_loader() -> None:
    batched = Listed([1, 2], [0])  # type: ignore[arg-type]
    for loader, expected in (
        (DataLoader(DATA, batch_size=20), [20, 10]),  # type: ignore[arg-type]
        (DataLoader(DATA, batch_size=20, drop_last=True), [20]),  # type: ignore[arg-type]
        (DataLoader(DATA, batch_size=None), [1] * 30),  # type: ignore[arg-type]
        (DataLoader(DATA, batch_sampler=batched), [2, 1]),  # type: ignore[arg-type]
    ):
        assert [len(keys) for keys, _ in cut(order_of(loader, 5), count=40)] == expected
    assert (order_of(loader, 5).rank, order_of(loader, 5).world_size) == (0, 1)


@pytest.mark.parametrize("make", [torch.utils.data.DistributedSampler, DefaultSampler])
@pytest.mark.parametrize("shuffle", [True, False])
def test_known_samplers_are_dealt_by_us_from_the_whole_data(make: Any, shuffle: bool) -> None:
    sampler = make(DATA, num_replicas=2, rank=1, shuffle=shuffle) if make is not DefaultSampler else make(DATA, shuffle)
    shares = [cut(SampleOrder(sampler, 5, 15, rank=rank, world_size=2))[0][0] for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(DATA)
    assert (shares[0] == list(DATA)[::2]) is not shuffle
    assert SampleOrder(sampler, 5, 15, rank=1, world_size=2).position(1) == (1, 0)


def test_a_random_sampler_of_a_part_draws_its_own() -> None:
    part = cut(SampleOrder(RandomSampler(DATA, num_samples=4), 5, 9))[0][0]  # type: ignore[arg-type]
    again = cut(SampleOrder(RandomSampler(DATA, True, num_samples=40), 5, 50))[0][0]  # type: ignore[arg-type]
    assert (len(part), len(again)) == (4, 40)
    assert set(part) | set(again) <= set(DATA)
    assert len(set(again)) < 40
    whole = SampleOrder(RandomSampler(DATA), 5, 30)  # type: ignore[arg-type]
    passes = [cut(whole, Position(epoch))[0][0] for epoch in (0, 1, 2)]
    assert [sorted(each) for each in passes] == [list(DATA)] * 3
    assert passes[0] != passes[1] != passes[2] != passes[0]
    later = SampleOrder(RandomSampler(DATA), 6, 30)  # type: ignore[arg-type]
    assert cut(later)[0][0] == passes[1]  # the seeds of passes follow one another


def test_a_sampler_without_a_length_is_told_what_to_do() -> None:
    class Unmeasured(Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(DATA)

    with pytest.raises(TypeError, match=r"Unmeasured has no length, so a pass over it never ends: give it `__len__`"):
        cut(SampleOrder(Unmeasured(), 5, 2))
