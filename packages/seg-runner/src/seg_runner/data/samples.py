"""Samples: each is read with random numbers of its own, then they are put together to a batch (collate functions)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import default_collate as torch_collate

from seg_runner.data.named_dataset import DatasetProxy, Samples, WorkerProgress, describe_sample
from seg_runner.data.seeds import SampleSeeds, derive_seed
from seg_runner.errors import add_note
from seg_runner.process.randomness import find_generators

__all__ = ["SampleKey", "SeededDataset", "default_collate", "pseudo_collate"]

SampleKey = tuple[int, int, int]
"""(pass, index, how often this pass has shown the index before)."""


class SeededDataset(DatasetProxy):
    """A data set asked by (pass, index, repeat): seeds all generators from that key, then reads the sample.

    A sample that fails gains a note with its name. One that is the first to draw from python's or numpy's generator
    after many that did not is read a second time (`SampleSeeds`).

    Args:
        dataset: The user's map-style data set.
        seed: The run's seed.
        progress: Where workers write down what they read; None without workers.
    """

    def __init__(self, dataset: Samples, seed: int, progress: WorkerProgress | None = None) -> None:
        super().__init__(dataset)
        self.seed, self.progress = seed, progress
        self._seeds: SampleSeeds | None = None

    __getitems__ = None  # torch looks for it in every batch: found here, it is not looked for in the data set

    def __getitem__(self, key: SampleKey) -> object:
        epoch, index, repeat = key
        seeds = self._seeds
        if seeds is None:  # made here, not in __init__: each worker process has generators of its own
            seeds = self._seeds = SampleSeeds(list(find_generators(self.dataset).values()))
        if self.progress is not None:
            self.progress.record(index, epoch)
        parts = (self.seed, epoch, index, repeat) if repeat else (self.seed, epoch, index)
        seed = derive_seed(*parts)
        while True:  # once more, at most, for each generator whose first use this is
            seeds.begin(seed)
            try:
                sample = self.dataset[index]
            except Exception as error:
                if seeds.fits():
                    add_note(error, f"while reading {describe_sample(self.dataset, index)} in pass {epoch}")
                    raise
            else:
                if seeds.fits():
                    return sample


def pseudo_collate(data_batch: Sequence[Any], leaf: Callable[[list[Any]], object] = list) -> Any:
    """Put samples side by side without stacking their tensors, so images may differ in size.

    Data elements (SegDataSample, MMEngine's BaseDataElement, anything of that shape) and texts stay a list.

    Args:
        data_batch: The samples: dicts, tuples, or whatever the data set gives.
        leaf: What makes one value of all samples' values, where these hold no further ones.

    Raises:
        RuntimeError: Sequences inside the samples have different lengths.

    >>> pseudo_collate([dict(inputs=1, tag="a"), dict(inputs=2, tag="b")])
    {'inputs': [1, 2], 'tag': ['a', 'b']}
    """
    first = data_batch[0]
    kind = type(first)
    if isinstance(first, str | bytes) or (hasattr(kind, "set_metainfo") and hasattr(kind, "metainfo_keys")):
        return list(data_batch)
    if isinstance(first, Mapping):
        values = {key: pseudo_collate([sample[key] for sample in data_batch], leaf) for key in first}
        return values if kind is dict else _as(kind, values)
    if not isinstance(first, Sequence):
        return leaf(list(data_batch))
    if len({len(sample) for sample in data_batch}) > 1:
        raise RuntimeError(
            f"the samples of this batch cannot be put together: they are sequences of lengths "
            f"{[len(sample) for sample in data_batch]}. "
            f"Let every sample have equally many parts, or give the loader a collate_fn of your own."
        )
    columns = [pseudo_collate(column, leaf) for column in zip(*data_batch, strict=True)]
    if isinstance(first, tuple):
        return kind(*columns) if hasattr(first, "_fields") else columns
    return columns if kind is list else _as(kind, columns)


def default_collate(data_batch: Sequence[Any]) -> Any:
    """Put samples side by side and stack their tensors and numbers; data elements and texts stay a list.

    Raises:
        RuntimeError: Sequences inside the samples have different lengths, or tensors different shapes.

    >>> default_collate([dict(x=1, name="a"), dict(x=2, name="b")])
    {'x': tensor([1, 2]), 'name': ['a', 'b']}
    """
    return pseudo_collate(data_batch, torch_collate)


def _as(kind: Callable[[object], object], values: object) -> object:
    """Return a collection as the samples' own kind, if that can be made from it."""
    try:
        return kind(values)
    except TypeError:
        return values
