"""The order of data: which samples make up pass p, for every kind of sampler, as a function of (seed, p)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from seg_runner.data.samplers import Ordered, permutation
from seg_runner.data.samples import SampleKey
from seg_runner.data.seeds import seed_generators
from seg_runner.process.randomness import find_generators, global_state, set_global_state

__all__ = ["BatchOrder", "KeyBatch", "Order", "Position", "RankOrder", "SampleOrder", "order_of", "ordered"]

Index = TypeVar("Index")
AT_ONCE = 64
"""So many batches are cut from a pass at once: cheaper than cutting each, and small beside a pass of millions."""


class Position(NamedTuple):
    """Where a stream of batches stands: so far into pass `epoch`, counted in samples over all ranks."""

    epoch: int = 0
    offset: int = 0

    def state(self) -> dict[str, int]:
        """Return it as checkpoints hold it: `offset` counts samples over all ranks, so these may change."""
        return {"pass": self.epoch, "offset": self.offset}


class Part(list[SampleKey]):
    """A rank's keys of a batch that is not dealt out evenly, and what its loss counts when ranks are averaged.

    A rank that got none reads a sample of another's, so that it takes part; its loss counts 0.
    """

    share: float = 1.0
    average: float = 1.0
    """How many samples a rank has on the average, by those that this one reads."""


def part_of(own: list[SampleKey], other: SampleKey, total: int, world_size: int) -> list[SampleKey]:
    """Return a rank's keys with their share: how many times the mean over ranks they are.

    >>> part_of([(0, 7, 0)], (0, 1, 0), 3, 2).share
    0.6666666666666666
    """
    if len(own) * world_size == total:
        return own
    part = Part(own or [other])
    part.share = len(own) * world_size / total
    part.average = total / world_size / len(part)
    return part


KeyBatch = tuple[list[SampleKey], Position]
"""The keys of one batch, and the position after it."""


class SampleOrder:
    """Batches cut from one list of sample indices per pass, which knows nothing of ranks: it is dealt out, not padded.

    So a batch over all ranks is the batch that one process reads. The last of a pass may not divide by the ranks: then
    each rank's part says what its loss counts.

    Args:
        sampler: Where the order of a pass comes from.
        seed: The run's seed.
        batch_size: Samples of one batch on one rank.
        drop_last: Leave out a last batch that is not full.
        rank: This process.
        world_size: Processes that share a pass.
    """

    def __init__(
        self,
        sampler: Iterable[int],
        seed: int,
        batch_size: int,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.sampler, self.seed = sampler, seed
        self.batch_size, self.drop_last = batch_size, drop_last
        dealt = is_dealt(sampler)
        self.rank, self.world_size = (0, 1) if dealt else (rank, world_size)
        self.endless = is_endless(sampler)
        self._kept: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}  # of one pass

    @property
    def step(self) -> int:
        """Tell how many samples one batch has over all ranks."""
        return self.batch_size * self.world_size

    def pass_indices(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the indices of a pass over all ranks, and how often each was shown before (None: all differ)."""
        if epoch not in self._kept:
            indices = np.asarray(pass_of(self.sampler, self.seed, epoch), dtype=np.int64)
            self._kept = {epoch: (indices, repeats(indices))}
        return self._kept[epoch]

    def batches(self, start: Position) -> Iterator[KeyBatch]:
        """Return this rank's batches as keys, each with the position after it: to the end of the pass, or for ever."""
        return chain.from_iterable(self._some_batches(start))

    def _some_batches(self, start: Position) -> Iterator[list[KeyBatch]]:
        while True:
            size = len(self.pass_indices(start.epoch)[0])
            while size - start.offset >= self.step:
                batches = self._whole_batches(start, size)
                yield batches
                start = batches[-1][1]
            if self.endless:
                batch = self._across(start)
                yield [batch]
                start = batch[1]
                continue
            rest = size - start.offset
            if rest > 0 and not self.drop_last:
                own = self._slice(start, rest, self.rank, self.world_size)
                part = part_of(own, self._slice(start, 1)[0], rest, self.world_size)
                yield [(part, Position(start.epoch, size))]
            return

    def _whole_batches(self, start: Position, size: int) -> list[KeyBatch]:
        """Return some of the full batches to come."""
        count = min((size - start.offset) // self.step, AT_ONCE)
        keys = self._slice(start, count * self.step, self.rank, self.world_size)
        ends = range(start.offset + self.step, start.offset + count * self.step + 1, self.step)
        begins = range(0, len(keys), self.batch_size)
        return [
            (keys[begin : begin + self.batch_size], Position(start.epoch, end))
            for begin, end in zip(begins, ends, strict=True)
        ]

    def _across(self, start: Position) -> KeyBatch:
        """Return the batch that begins in one pass and ends in another."""
        chunk: list[SampleKey] = []
        while len(chunk) < self.step:
            size = len(self.pass_indices(start.epoch)[0])
            if not size:
                raise ValueError(f"{type(self.sampler).__name__} gives no index at all: is the data set empty?")
            missing = self.step - len(chunk)
            chunk += self._slice(start, missing)  # what is left of the pass at most, which may be nothing
            end = start.offset + missing
            start = Position(start.epoch + 1) if end >= size else Position(start.epoch, end)
        return chunk[self.rank :: self.world_size], start

    def _slice(self, start: Position, count: int, first: int = 0, every: int = 1) -> list[SampleKey]:
        epoch, offset = start
        indices, seen = self.pass_indices(epoch)
        chosen = indices[offset + first : offset + count : every].tolist()
        if seen is None:
            return [(epoch, index, 0) for index in chosen]
        again = seen[offset + first : offset + count : every].tolist()
        return [(epoch, index, n) for index, n in zip(chosen, again, strict=True)]

    def position(self, iteration: int) -> Position:
        """Return where the stream stands after `iteration` batches from the beginning."""
        if self.endless and isinstance(self.sampler, Ordered):
            return Position(*divmod(iteration * self.step, max(_length(self.sampler), 1)))
        if self.endless:
            return self._walk(iteration * self.step)
        epoch, batch = divmod(iteration, max(self.count(), 1))
        return Position(epoch, batch * self.step)

    def count(self) -> int:
        """Return how many batches a pass has, the same on all ranks."""
        size = _length(self.sampler)
        return size // self.step if self.drop_last else -(-size // self.step)

    def _walk(self, samples: int) -> Position:
        epoch = 0
        while samples >= (size := len(self.pass_indices(epoch)[0])):
            if not size:
                break
            samples, epoch = samples - size, epoch + 1
        return Position(epoch, samples)


class BatchOrder:
    """Batches as a user's own batch sampler makes them, seeded per pass. Offsets count batches over all ranks."""

    endless = False

    def __init__(self, sampler: Iterable[Sequence[int]], seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.sampler, self.seed = sampler, seed
        self.rank, self.world_size = (0, 1) if is_dealt(sampler) else (rank, world_size)

    @property
    def step(self) -> int:
        """Tell how many batches one step has over all ranks."""
        return self.world_size

    def batches(self, start: Position) -> Iterator[KeyBatch]:
        """Yield this rank's batches of the pass, each with the position after it."""
        batches = [[int(i) for i in batch] for batch in seeded_iteration(self.sampler, self.seed, start.epoch)]
        for offset in range(start.offset, len(batches), self.step):
            together = [self._keys(start.epoch, batch) for batch in batches[offset : offset + self.step]]
            own = together[self.rank] if self.rank < len(together) else []
            total = sum(map(len, together))
            keys = part_of(own, together[0][0], total, self.step) if total else own
            yield keys, Position(start.epoch, offset + self.step)

    def _keys(self, epoch: int, batch: list[int]) -> list[SampleKey]:
        again = repeats(np.asarray(batch, dtype=np.int64))
        counts = [0] * len(batch) if again is None else again.tolist()
        return [(epoch, index, n) for index, n in zip(batch, counts, strict=True)]

    def position(self, iteration: int) -> Position:
        """Return where the stream stands after `iteration` batches from the beginning."""
        epoch, batch = divmod(iteration, max(self.count(), 1))
        return Position(epoch, batch * self.step)

    def count(self) -> int:
        """Return how many steps a pass has, the same on all ranks."""
        return -(-_count(self.sampler) // self.step)


class RankOrder:
    """The batches of several ranks that are read by one process, one rank after another within each step.

    Args:
        parts: The order of each.
    """

    def __init__(self, parts: Sequence[SampleOrder | BatchOrder]) -> None:
        self.parts, self.endless, self.seed = parts, parts[0].endless, parts[0].seed
        if (size := getattr(parts[0], "batch_size", None)) is not None:
            self.batch_size = size
        self.step, self.position, self.count = parts[0].step, parts[0].position, parts[0].count

    def batches(self, start: Position) -> Iterator[KeyBatch]:
        """Return the batches; the position after each is that after the step."""
        return chain.from_iterable(zip(*(part.batches(start) for part in self.parts), strict=True))


Order = SampleOrder | BatchOrder | RankOrder


def ordered(loader: DataLoader[object], seed: int, ranks: range, world_size: int) -> Order:
    """Return the order of the ranks whose batches this process reads."""
    parts = [order_of(loader, seed, rank, world_size) for rank in ranks]
    return parts[0] if len(parts) == 1 else RankOrder(parts)


def order_of(loader: DataLoader[object], seed: int, rank: int = 0, world_size: int = 1) -> SampleOrder | BatchOrder:
    """Return the order that a torch DataLoader with a map-style data set would follow, made seekable."""
    batch_sampler = loader.batch_sampler
    if type(batch_sampler) is BatchSampler:
        size, drop_last = batch_sampler.batch_size, batch_sampler.drop_last
        return SampleOrder(batch_sampler.sampler, seed, size, drop_last, rank, world_size)
    if batch_sampler is None:
        return SampleOrder(loader.sampler, seed, 1, False, rank, world_size)
    return BatchOrder(batch_sampler, seed, rank, world_size)


def has_known_order(sampler: object) -> bool:
    """Tell whether the order over all ranks is known, whatever share of it the sampler itself gives."""
    return isinstance(sampler, Ordered) or _known_order(sampler) is not None


def is_dealt(sampler: object) -> bool:
    """Tell whether the sampler gives one rank's share only, so that it must not be shared out again."""
    return not has_known_order(sampler) and any(hasattr(sampler, name) for name in ("num_replicas", "world_size"))


def is_endless(sampler: object) -> bool:
    """Tell whether `iter(sampler)` never stops: it says so, or has the name of MMEngine's endless sampler."""
    return bool(getattr(sampler, "endless", type(sampler).__name__ == "InfiniteSampler"))


def repeats(indices: np.ndarray) -> np.ndarray | None:
    """Return for each element how often it occurred before; None where all differ.

    >>> repeats(np.array([4, 7, 4, 4])).tolist()
    [0, 0, 1, 2]
    """
    size = len(indices)
    if size < 2:
        return None
    by_value = np.argsort(indices, kind="stable")
    ordered = indices[by_value]
    fresh = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    if fresh.all():
        return None
    starts = np.maximum.accumulate(np.where(fresh, np.arange(size), 0))
    result = np.empty(size, dtype=np.int64)
    result[by_value] = np.arange(size) - starts
    return result


def seeded_iteration(sampler: Iterable[Index], seed: int, epoch: int) -> list[Index]:
    """List one pass of any sampler, with all generators seeded from (seed, pass) meanwhile and put back afterwards."""
    inner = getattr(sampler, "sampler", None)
    for part in (sampler, inner):
        if callable(set_epoch := getattr(part, "set_epoch", None)):
            set_epoch(epoch)
    before = global_state()
    try:
        seed_generators("order", seed, epoch, kept=list(find_generators([sampler, inner]).values()))
        return list(islice(sampler, _count(sampler)))
    finally:
        set_global_state(before)


def _count(sampler: Iterable[object]) -> int:
    """Return how many items a pass over a sampler has."""
    try:
        return len(sampler)  # type: ignore[arg-type]  # a sampler without a length raises the TypeError
    except TypeError:
        raise TypeError(
            f"{type(sampler).__name__} has no length, so a pass over it never ends: give it `__len__`, "
            f"or use randomness=dict(stream='mmengine'), which asks it for one index after the other"
        ) from None


def pass_of(sampler: Iterable[int], seed: int, epoch: int) -> Sequence[int] | np.ndarray:
    """Return the indices of a pass over all ranks."""
    if isinstance(sampler, Ordered):
        return sampler.order(seed, epoch)
    if isinstance(sampler, SequentialSampler):
        return np.arange(len(sampler))
    if type(sampler) is RandomSampler and not sampler.replacement and len(sampler) == len(sampler.data_source):
        return permutation(len(sampler), seed + epoch)
    if (known := _known_order(sampler)) is not None:
        size, shuffle = known
        return permutation(size, seed + epoch) if shuffle else np.arange(size)
    return seeded_iteration(sampler, seed, epoch)


def _known_order(sampler: object) -> tuple[int, bool] | None:
    """Return data size and shuffling of torch's DistributedSampler and MMEngine's two samplers, whose order is ours."""
    if isinstance(sampler, DistributedSampler) or type(sampler).__name__ in ("DefaultSampler", "InfiniteSampler"):
        dataset = getattr(sampler, "dataset", None)
        if dataset is not None and hasattr(sampler, "shuffle"):
            return len(dataset), bool(sampler.shuffle)
    return None


def _length(sampler: Iterable[int]) -> int:
    """Return the length of a pass over all ranks."""
    known = _known_order(sampler)
    if known is not None:
        return known[0]
    if isinstance(sampler, Ordered):
        return int(getattr(sampler, "size", None) or _count(getattr(sampler, "dataset", sampler)))
    return _count(sampler)
