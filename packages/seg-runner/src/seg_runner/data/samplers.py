"""Samplers: MMEngine's two, and one that balances classes. Each says the order of a pass without any history."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Sized
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed
from torch.utils.data import Sampler

from seg_runner.checks import flag, number, whole

__all__ = ["ClassBalancedSampler", "DefaultSampler", "InfiniteSampler", "Ordered", "repeat_factors"]


@runtime_checkable
class Ordered(Protocol):
    """A sampler whose order is a function of (seed, pass): such a run resumes without replaying anything."""

    seed: int

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the indices of one pass over all ranks, before they are dealt out."""


class _Placed(Sampler[int]):
    """A sampler that knows its rank: as given, else asked of torch whenever it is used.

    One made before the process group is so dealt out like one made after it.
    """

    def _place(self, rank: int | None, world_size: int | None) -> None:
        for name, value, least in (("rank", rank, None), ("world_size", world_size, 1)):
            if value is not None:
                whole(value, name, least)
        self._given = rank, world_size
        own, processes = self.rank, self.world_size
        if not 0 <= own < processes:
            raise ValueError(f"rank must be one of 0 ... world_size - 1, that is {processes - 1}, not {own}")

    @property
    def rank(self) -> int:
        """Return the number of the process that this sampler is for."""
        given = self._given[0]
        return int(given) if given is not None else distributed.get_rank() if _is_distributed() else 0

    @property
    def world_size(self) -> int:
        """Return how many processes share a pass."""
        given = self._given[1]
        return int(given) if given is not None else distributed.get_world_size() if _is_distributed() else 1


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _checked_seed(seed: int | None, least: int | None = None) -> int:
    return 0 if seed is None else whole(seed, "seed", least, 2**64)


def _check_dataset(dataset: Sized, sampler: str) -> Sized:
    """Return a data set as it is, if it can be counted."""
    if not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{sampler} needs a data set with a length, and {type(dataset).__name__} has none: leave the sampler out"
        )
    return dataset


def permutation(size: int, seed: int) -> np.ndarray:
    """Return `torch.randperm` from a generator of its own: MMEngine's order for `seed + epoch`."""
    generator = torch.Generator()
    generator.manual_seed(seed)
    return torch.randperm(size, generator=generator).numpy()


class DefaultSampler(_Placed):
    """One pass over the data set per epoch, dealt out over the ranks, as by MMEngine's sampler of the same name.

    Args:
        dataset: Anything with a length.
        shuffle: A new permutation per pass, from `seed + epoch`.
        seed: The run's seed, the same on all ranks.
        round_up: Repeat indices from the start until every rank has equally many.
        rank: This process; None asks torch.distributed.
        world_size: How many processes share a pass.

    >>> list(DefaultSampler(range(5), shuffle=False, rank=1, world_size=2))
    [1, 3, 0]
    """

    endless = False

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._place(rank, world_size)
        self.dataset = _check_dataset(dataset, "DefaultSampler")
        self.shuffle, self.round_up = flag(shuffle, "shuffle"), flag(round_up, "round_up")
        self.seed = _checked_seed(seed)
        self.epoch = 0

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the indices of one pass over all ranks, each once."""
        size = len(self.dataset)
        return permutation(size, seed + epoch) if self.shuffle else np.arange(size)

    def __iter__(self) -> Iterator[int]:
        indices, world_size = self.order(self.seed, self.epoch), self.world_size
        return iter((padded(indices, world_size) if self.round_up else indices)[self.rank :: world_size].tolist())

    def __len__(self) -> int:
        size = len(self.dataset)
        return math.ceil((size if self.round_up else size - self.rank) / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass whose order the next `iter()` gives."""
        self.epoch = epoch


def padded(indices: np.ndarray, multiple: int) -> np.ndarray:
    """Repeat indices from the start until their number is a multiple.

    >>> padded(np.array([4, 5, 6]), 2).tolist()
    [4, 5, 6, 4]
    """
    if not len(indices):
        return indices
    total = math.ceil(len(indices) / multiple) * multiple
    return np.resize(indices, total)


class InfiniteSampler(_Placed):
    """Permutation after permutation, for ever: what iteration-based training uses, as MMEngine's sampler.

    Iterated directly it draws all permutations from one generator, as MMEngine does, and a second `iter()`
    goes on where the first stopped. With `randomness.stream='sample'` the runner asks `order` instead.

    Args:
        dataset: Anything with a length.
        shuffle: New permutations, or 0 ... n-1 again and again.
        seed: The run's seed, the same on all ranks.
        rank: This process; None asks torch.distributed.
        world_size: How many processes share the stream.
    """

    endless = True

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._place(rank, world_size)
        self.dataset, self.shuffle = _check_dataset(dataset, "InfiniteSampler"), flag(shuffle, "shuffle")
        self.size = len(dataset)
        self.seed = _checked_seed(seed)
        self._indices = self._stream()

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the indices of one pass over all ranks."""
        return permutation(self.size, seed + epoch) if self.shuffle else np.arange(self.size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self.seed)
        position = -self.rank  # asked with the first index, when the group is there
        while self.size:
            indices = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
            start = -position % self.world_size
            yield from indices[start :: self.world_size].tolist()
            position += self.size

    def __iter__(self) -> Iterator[int]:
        return self._indices

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the stream has no epochs."""


def repeat_factors(presence: np.ndarray, threshold: float) -> np.ndarray:
    """Return how often a pass should show each image: the square root of (threshold / frequency of its rarest class).

    Formula: LVIS (Gupta et al. 2019), section "Repeat factor sampling"; at least 1.

    Args:
        presence: `[images, classes]`, true where the image holds the class.
        threshold: Classes in a smaller share of the images than this are shown more often.

    >>> repeat_factors(np.array([[1, 0], [1, 0], [1, 0], [1, 1]]), 1.0).tolist()
    [1.0, 1.0, 1.0, 2.0]
    """
    present = np.asarray(presence, dtype=bool)
    if not len(present):
        return np.ones(0)
    frequency = present.mean(axis=0)
    by_class = np.sqrt(np.maximum(1.0, threshold / np.maximum(frequency, 1e-12)))
    factors = np.ones(len(present))
    for index in np.flatnonzero(by_class > 1):  # one class after the other: there may be millions of images
        here = present[:, index]
        factors[here] = np.maximum(factors[here], by_class[index])
    return factors


class ClassBalancedSampler(_Placed):
    """Shows images with rare classes more often: each pass holds image i `repeat_factors[i]` times on average.

    A factor of 2.3 means two or three showings, drawn anew in each pass; every image is shown at least once, and all
    passes are equally long. Like `DefaultSampler`, it gives one pass for each `iter()`.

    Args:
        dataset: Has a length, and `get_cat_ids(index)` unless `presence` is given.
        threshold: Share of the images below which a class counts as rare.
        presence: `[images, classes]`, true where the image holds the class.
        shuffle: A new order per pass.
        seed: The run's seed, the same on all ranks.
        rank: This process; None asks torch.distributed.
        world_size: How many processes share a pass.

    >>> rare = [[1, 0], [1, 0], [1, 0], [1, 1]]
    >>> sorted(ClassBalancedSampler(range(4), threshold=1.0, presence=rare))
    [0, 1, 2, 3, 3]
    """

    endless = False

    def __init__(
        self,
        dataset: Sized,
        threshold: float = 0.1,
        presence: npt.ArrayLike | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        number(threshold, "ClassBalancedSampler: threshold, a share of the images,", most=1, above=0)
        self.dataset, self.shuffle = _check_dataset(dataset, "ClassBalancedSampler"), flag(shuffle, "shuffle")
        self._place(rank, world_size)
        self.seed = _checked_seed(seed, 0)
        self.epoch = 0
        table = _presence_of(dataset) if presence is None else _table(presence)
        if table.ndim != 2 or len(table) != len(dataset):
            raise ValueError(
                f"ClassBalancedSampler: presence has shape {table.shape}; expected ({len(dataset)}, classes)"
            )
        self.factors = repeat_factors(table, threshold).round(6)

    @property
    def size(self) -> int:
        """Return how many samples one pass has over all ranks."""
        return int(self.factors.sum() + 1e-6)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the indices of one pass over all ranks.

        The fractions of the factors are laid end to end in a random order; points at equal distances hit one image
        each (systematic sampling), so that each is hit as often as its fraction says, and the number is fixed.
        """
        draw = np.random.Generator(np.random.PCG64([seed, epoch]))
        times = np.floor(self.factors).astype(np.int64)
        rest, more = self.factors - times, self.size - int(times.sum())
        if more:
            mixed = draw.permutation(len(times))
            ends = np.cumsum(rest[mixed]) * (more / rest.sum())
            hit = np.searchsorted(ends, draw.random() + np.arange(more), side="right")
            np.add.at(times, mixed[np.minimum(hit, len(mixed) - 1)], 1)
        indices = np.repeat(np.arange(len(times)), times)
        return draw.permutation(indices) if self.shuffle else indices

    def __iter__(self) -> Iterator[int]:
        return iter(padded(self.order(self.seed, self.epoch), self.world_size)[self.rank :: self.world_size].tolist())

    def __len__(self) -> int:
        return math.ceil(self.size / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass whose order the next `iter()` gives."""
        self.epoch = epoch


def _table(presence: npt.ArrayLike) -> np.ndarray:
    try:
        return np.asarray(presence)
    except ValueError as error:
        raise ValueError(
            "ClassBalancedSampler: the rows of presence are not equally long: one value per class"
        ) from error


def _presence_of(dataset: Sized) -> np.ndarray:
    find = getattr(dataset, "get_cat_ids", None)
    if not callable(find):
        raise TypeError(
            f"ClassBalancedSampler needs to know which classes each image holds: give presence=[images, classes], "
            f"or give {type(dataset).__name__} a method get_cat_ids(index) -> class indices"
        )
    rows: list[Sequence[int]] = [list(find(index)) for index in range(len(dataset))]
    table = np.zeros((len(rows), 1 + max((max(row, default=0) for row in rows), default=0)), dtype=bool)
    for index, row in enumerate(rows):
        table[index, row] = True
    return table
