"""Data sets made of others: one after the other, several times, or rare classes more often."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from seg_runner.checks import number, whole

from seg_engine.data.checks import switch
from seg_engine.data.pipeline import build

__all__ = ["ClassBalancedDataset", "ConcatDataset", "RepeatDataset"]

Record = dict[str, Any]
MOST_TIMES = 10**7  # repeats of a data set
MOST_OVER = 1000  # the factor of a class is the root of this times the number of images at most

OWN_READING = frozenset({"ignore_index", "reduce_zero_label", "label_map"})
"""How a data set reads its files: the labels that come of it mean the same."""


class _Joined:
    """What the data sets below share: an index leads to a data set inside and an index there.

    Args:
        datasets: The data sets inside, or their configs.
        lazy_init: Look at the files later, when `full_init` is called.
    """

    def __init__(self, datasets: Sequence[Any], lazy_init: bool) -> None:
        self.inside = [build("dataset", one) for one in datasets]
        for one in self.inside:
            if not hasattr(one, "__getitem__") or not hasattr(one, "__len__"):
                raise TypeError(
                    f"{type(self).__name__}: a data set with a length, or its config, is expected, not {one!r}"
                )
        self._ready = False
        if not switch(lazy_init, f"{type(self).__name__}: lazy_init"):
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Return classes, palette, and so on, of the (first) data set inside; a copy."""
        return dict(getattr(self.inside[0], "metainfo", None) or {})

    def full_init(self) -> None:
        """List the files of all data sets inside. Called once; more calls do nothing."""
        if self._ready:
            return
        for one in self.inside:
            if callable(getattr(one, "full_init", None)):
                one.full_init()
        self._arrange()
        self._ready = True

    def _arrange(self) -> None:
        """Called once the data sets inside are ready."""

    def _place(self, index: int) -> tuple[Any, int]:
        """Return the data set inside, and the index there."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Any:
        """Return the sample of this index, from the data set inside.

        Raises:
            IndexError: there is none.
        """
        dataset, inner = self._place(self._checked(index))
        return dataset[inner]

    def get_data_info(self, index: int) -> Record:
        """Return the record that the pipeline of the data set inside starts from."""
        index = self._checked(index)
        dataset, inner = self._place(index)
        return {**dataset.get_data_info(inner), "sample_idx": index}

    def get_cat_ids(self, index: int) -> list[int]:
        """Return the classes that the label map of an image holds."""
        dataset, inner = self._place(self._checked(index))
        find = getattr(dataset, "get_cat_ids", None)
        if not callable(find):
            raise TypeError(
                f"{type(self).__name__}: {type(dataset).__name__} has no get_cat_ids(index) that tells the classes of "
                "an image"
            )
        found: list[int] = list(find(inner))
        return found

    def leave_out(self, label: int) -> str | None:
        """Let pixels that do not count have this label, in all data sets inside; what to say about it."""
        changes = [one.leave_out(label) for one in self.inside if callable(getattr(one, "leave_out", None))]
        return "; ".join(dict.fromkeys(filter(None, changes))) or None

    def seconds_of_a_sample(self) -> dict[str, float]:
        """Return the mean seconds of each transform, of the first data set inside that has read a sample."""
        able = [one for one in self.inside if callable(getattr(one, "seconds_of_a_sample", None))]
        return next(filter(None, (one.seconds_of_a_sample() for one in able)), {})

    def data_report(self) -> list[tuple[int, str]]:
        """Say what is worth knowing about the data sets inside, before the first step."""
        able = [one for one in self.inside if callable(getattr(one, "data_report", None))]
        return [line for one in able for line in one.data_report()]

    def _checked(self, index: int) -> int:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"{type(self).__name__} has {size} samples: there is no index {index}")
        return index % size


class ConcatDataset(_Joined):
    """Data sets one after the other.

    In a config: `dict(type='ConcatDataset', datasets=[dict(type='CityscapesDataset', data_root='data/a')])`.

    Args:
        datasets: Data sets, or their configs (of the same kinds as a loader's `dataset`).
        lazy_init: Look at the files later.
        ignore_keys: Keys of `metainfo` that may differ; 'all' compares none.

    Raises:
        ValueError: there is none, or they have other classes or another palette.

    Example:
        >>> class Two(list):
        ...     metainfo = dict(classes=("a", "b"))
        >>> data = ConcatDataset([Two("xy"), RepeatDataset(Two("z"), times=2)])
        >>> len(data), data[1], data[3], data.metainfo["classes"]
        (4, 'y', 'z', ('a', 'b'))
    """

    def __init__(
        self, datasets: Sequence[Any], lazy_init: bool = False, ignore_keys: str | Sequence[str] | None = None
    ) -> None:
        if not isinstance(datasets, Sequence) or isinstance(datasets, str) or not datasets:
            raise ValueError(f"ConcatDataset: a list of data sets, or of their configs, is expected, not {datasets!r}")
        given = [ignore_keys] if isinstance(ignore_keys, str) else list(ignore_keys or ())
        super().__init__(datasets, lazy_init)
        self.datasets = self.inside
        if given != ["all"]:
            self._compare(OWN_READING | set(given))

    def _compare(self, ignored: set[str] | frozenset[str]) -> None:
        """Raise where labels would mean something else in another data set."""
        first, *others = (getattr(one, "metainfo", None) or {} for one in self.inside)
        for position, other in enumerate(others, 1):
            for key in sorted((set(first) | set(other)) - ignored):
                if _as_lists(first.get(key)) != _as_lists(other.get(key)):
                    raise ValueError(
                        f"ConcatDataset: datasets[{position}] has another metainfo[{key!r}] than the first one: "
                        f"{other.get(key)!r}, not {first.get(key)!r}. Give both the same, or "
                        f"ignore_keys=[{key!r}] if it does not matter"
                    )

    def _arrange(self) -> None:
        self.cumulative_sizes = list(accumulate(len(one) for one in self.inside))

    def _place(self, index: int) -> tuple[Any, int]:
        which = int(np.searchsorted(self.cumulative_sizes, index, side="right"))
        return self.inside[which], index - (self.cumulative_sizes[which - 1] if which else 0)

    def __len__(self) -> int:
        self.full_init()
        return self.cumulative_sizes[-1]


class RepeatDataset(_Joined):
    """A data set several times in a row: one pass over this is `times` passes over that.

    In a config: `dict(type='RepeatDataset', times=10, dataset=dict(type='PascalVOCDataset', data_root='data/voc'))`.

    Args:
        dataset: The data set, or its config.
        times: How often.
        lazy_init: Look at the files later.
    """

    def __init__(self, dataset: Any, times: int, lazy_init: bool = False) -> None:
        self.times = whole(times, "RepeatDataset: times", 1, MOST_TIMES)
        super().__init__([dataset], lazy_init)
        self.dataset = self.inside[0]

    def _place(self, index: int) -> tuple[Any, int]:
        return self.dataset, index % len(self.dataset)

    def __len__(self) -> int:
        self.full_init()
        return self.times * len(self.dataset)


class ClassBalancedDataset(_Joined):
    """A data set whose images with rare classes come more often (arXiv:1908.03195, appendix B).

    A class that a share f of the images holds has the factor max(1, sqrt(oversample_thr / f)); an image comes as often
    as the largest factor of its classes says, rounded up. All label maps are read once for that. `ClassBalancedSampler`
    draws the fractions by chance instead of rounding up.

    In a config: `dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=dict(type='ADE20KDataset'))`.

    Args:
        dataset: The data set, or its config; it has `get_cat_ids(index)`.
        oversample_thr: Classes that fewer than this share of the images hold come more often.
        lazy_init: Look at the files later.
    """

    def __init__(self, dataset: Any, oversample_thr: float, lazy_init: bool = False) -> None:
        given = number(oversample_thr, "ClassBalancedDataset: oversample_thr (a share)", above=0, most=MOST_OVER)
        self.oversample_thr = float(given)
        super().__init__([dataset], lazy_init)
        self.dataset = self.inside[0]

    def _arrange(self) -> None:
        dataset = self.inside[0]
        find = getattr(dataset, "get_cat_ids", None)
        if not callable(find):
            raise TypeError(
                f"ClassBalancedDataset: {type(dataset).__name__} has no get_cat_ids(index) that tells the classes of "
                "an image"
            )
        times = repeats([find(index) for index in range(len(dataset))], self.oversample_thr)
        self.repeat_indices = np.repeat(np.arange(len(times)), times)

    def _place(self, index: int) -> tuple[Any, int]:
        return self.dataset, int(self.repeat_indices[index])

    def __len__(self) -> int:
        self.full_init()
        return len(self.repeat_indices)


def repeats(held: Sequence[Sequence[int]], threshold: float) -> list[int]:
    """Tell how often each image comes, from the classes that it holds.

    >>> repeats([[0], [0], [0], [0, 1]], 1.0)
    [1, 1, 1, 2]
    """
    from seg_runner.data.samplers import repeat_factors

    presence = np.zeros((len(held), 1 + max((max(one, default=0) for one in held), default=0)), bool)
    for index, labels in enumerate(held):
        presence[index, list(labels)] = True
    return [int(factor) for factor in np.ceil(repeat_factors(presence, threshold))]


def _as_lists(value: object) -> Any:
    """Return values so that lists, tuples and arrays of the same ones are equal."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return [_as_lists(one) for one in value] if isinstance(value, list | tuple) else value
