"""Private copies of a torch DataLoader, which read in our order or name what fails; the user's is left as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from seg_runner.data.named_dataset import NamedDataset, WorkerProgress
from seg_runner.data.one_block import InOneBlock
from seg_runner.data.order import KeyBatch
from seg_runner.data.samples import SampleKey, SeededDataset
from seg_runner.data.workers import WorkerInit, quiet, shield_workers, shut_down, shut_down_loader, starting

__all__ = ["KeyedLoader", "NamedLoader", "copy_loader", "is_map_style"]

KEPT = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
    "persistent_workers",
)
"""Arguments that a copy has of the user's loader."""


def is_map_style(loader: object) -> TypeGuard[DataLoader[object]]:
    """Tell whether this is a torch loader that reads a map-style data set in torch's own way."""
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return False
    return not isinstance(loader.dataset, IterableDataset)


def copy_loader(
    loader: DataLoader[object],
    dataset: Dataset[object],
    order: Iterable[object],
    generator: torch.Generator | None = None,
    worker_init_fn: WorkerInit | None = None,
) -> DataLoader[object]:
    """Return a torch DataLoader with another data set and order, otherwise like the given one.

    What its workers send travels in one block of shared memory.

    Args:
        loader: The given one.
        dataset: The other data set.
        order: Gives batches of keys, or single keys where the given loader makes no batches.
        generator: Where the copy draws the seed of its workers from.
        worker_init_fn: What workers call first instead of the given loader's function.
    """
    options: dict[str, Any] = {name: getattr(loader, name) for name in KEPT}
    if loader.num_workers:
        options["collate_fn"] = InOneBlock(loader.collate_fn)
    if worker_init_fn is not None:
        options["worker_init_fn"] = worker_init_fn
    if loader.batch_sampler is not None:
        options["batch_sampler"] = order
    else:
        options |= {"batch_size": None, "sampler": order}
    with quiet():
        return DataLoader(dataset, generator=generator, **options)


class NamedLoader:
    """A torch loader whose errors and dead workers name the sample. Any other loader is used as it is.

    Workers leave signals to the main process.

    Args:
        loader: Anything that can be iterated; it is left alone, a torch loader is copied privately.
        seed: What the workers' numbers are seeded with (plus the number of the worker), where the loader was made of a
            config and does not say.
        order: Batches of indices that are read instead of the loader's own.
    """

    def __init__(self, loader: Iterable[Any], seed: int | None = None, order: Iterable[Any] | None = None) -> None:
        self.loader = loader
        self._progress: WorkerProgress | None = None
        if not is_map_style(loader):
            return
        self._progress = WorkerProgress(loader.num_workers) if loader.num_workers else None
        if order is None:
            order = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        self.dataset = loader.dataset
        named = NamedDataset(loader.dataset, self._progress)
        given, init = loader.worker_init_fn, None
        if isinstance(given, WorkerInit) and given.seed is None:
            init = WorkerInit(given.user, seed, given.warns)
        self.loader = copy_loader(loader, named, order, loader.generator, init)

    def __iter__(self) -> Iterator[Any]:
        with shield_workers(self.loader):
            batches = iter(self.loader)
        return batches if self._progress is None else _Watched(batches, self._progress, self.dataset)

    def finish(self, batches: object) -> None:
        """End a pass, and its workers, unless they are to live on."""
        if not getattr(self.loader, "persistent_workers", False):
            shut_down(batches)

    def close(self) -> None:
        """Stop workers that live on from pass to pass."""
        shut_down_loader(self.loader)


class _Watched:
    """The batches of a pass; where a worker dies, the exception says what it was reading."""

    def __init__(self, batches: Iterator[object], progress: WorkerProgress, dataset: object) -> None:
        self.batches, self._progress, self._dataset = batches, progress, dataset

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        try:
            return next(self.batches)
        except Exception as error:
            if (death := self._progress.death(self.batches, error, self._dataset)) is None:
                raise
            raise RuntimeError(death) from error


class KeyedLoader:
    """A copy of a torch loader that reads by the keys it is given, with workers or into pinned memory.

    Args:
        loader: The user's.
        dataset: Reads a sample by its key.
        seed: The run's.
    """

    def __init__(self, loader: DataLoader[object], dataset: SeededDataset, seed: int) -> None:
        self._keys = _Keys(loader.batch_sampler is None)
        self._dataset = dataset
        user = loader.worker_init_fn
        init = user if isinstance(user, WorkerInit) else WorkerInit(user)
        private = torch.Generator().manual_seed(seed)  # the global one knows nothing of workers
        self._loader = copy_loader(loader, dataset, self._keys, private, init)
        self.batches: Iterator[Any] = iter(())

    def start(self, keys: Iterator[KeyBatch]) -> None:
        """Begin to read; workers take keys ahead of the batches that are asked for."""
        self._keys.batches = keys
        with starting():
            self.batches = iter(self._loader)

    def death(self, error: Exception) -> str | None:
        """Say which worker died and what it was reading; None where all live."""
        progress = self._dataset.progress
        return None if progress is None else progress.death(self.batches, error, self._dataset.dataset)

    def close(self) -> None:
        """Stop the workers."""
        shut_down_loader(self._loader)
        shut_down(self.batches)
        self.batches = iter(())


class _Keys:
    """The batch sampler of a keyed loader, or its sampler where it makes no batches."""

    def __init__(self, one_sample: bool) -> None:
        self._one_sample = one_sample
        self.batches: Iterator[KeyBatch] = iter(())

    def __iter__(self) -> Iterator[SampleKey | list[SampleKey]]:
        return (keys[0] if self._one_sample else keys for keys, _ in self.batches)
