"""Training batches from loaders that cannot be asked for their order: any iterable, and ones with their own state."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from seg_runner.data.loader import copy_loader, is_plain
from seg_runner.data.named_samples import NamedDataset, Reading
from seg_runner.data.workers import sheltered, shut_down, shut_down_loader
from seg_runner.process.randomness import Randomness, derive_seed, seed_generators

__all__ = ["END", "NamedLoader", "PlainSource", "StatefulSource"]

LOG = logging.getLogger("seg_runner")
END = object()
"""Stands for a batch where a pass is over."""


class NamedLoader:
    """A torch loader whose errors and dead workers name the sample. Any other loader is used as it is.

    Workers leave signals to the main process.

    Args:
        loader: Anything that can be iterated; it is left alone, a torch loader is copied privately.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.reading: Reading | None = None
        if not is_plain(loader):
            return
        self.reading = Reading(loader.num_workers) if loader.num_workers else None
        order = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        dataset = NamedDataset(loader.dataset, self.reading)
        self.loader = copy_loader(loader, dataset, order, generator=loader.generator)

    def __iter__(self) -> Iterator[Any]:
        with sheltered(self.loader):
            batches = iter(self.loader)
        return batches if self.reading is None else _Watched(batches, self.reading, self.loader.dataset.dataset)

    def finish(self, batches: Any) -> None:
        """A pass is over: its workers end, unless they are to live on."""
        if not getattr(self.loader, "persistent_workers", False):
            shut_down(batches)

    def close(self) -> None:
        """Stop workers that live on from pass to pass."""
        shut_down_loader(self.loader)


class _Watched:
    """The batches of a pass; where a worker dies, the exception says what it was reading."""

    def __init__(self, batches: Any, reading: Reading, dataset: Any) -> None:
        self.batches, self._reading, self._dataset = batches, reading, dataset

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self.batches)
        except (RuntimeError, ConnectionError, EOFError) as error:
            if (death := self._reading.death(self.batches, error, self._dataset)) is None:
                raise
            raise RuntimeError(death) from error


class StatefulSource:
    """A loader with `state_dict` and `load_state_dict` of its own (torchdata's), used as it is."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.notes: list[str] = []
        self._iterator: Iterator[Any] | None = None

    def fetch(self) -> Any:
        """The next batch."""
        batch = _next_of(self)
        if batch is END:
            raise ValueError("the training loader gives no batch: its data set is empty")
        return batch

    def restart(self) -> Iterator[Any]:
        """Begin a pass."""
        with sheltered(self.loader):
            return iter(self.loader)

    def seek(self, iteration: int) -> None:
        """Such a loader goes to a saved state only."""
        if iteration:
            self.notes = ["position in the data: the loader keeps its own state, and the checkpoint has none of it"]

    def state(self) -> dict[str, Any]:
        """The loader's own state."""
        return {"loader": self.loader.state_dict()}

    def load(self, state: dict[str, Any], iteration: int) -> None:
        """Give the loader its state back."""
        shut_down(self._iterator)
        self._iterator = None
        if "loader" in state:
            self.loader.load_state_dict(state["loader"])
            self.notes = []
        else:
            self.seek(iteration)

    def close(self) -> None:
        """Stop the workers; the next batch is the one that would have come."""
        if self._iterator is not None:
            self.loader.load_state_dict(self.loader.state_dict())
        shut_down(self._iterator)
        self._iterator = None


class PlainSource:
    """Any iterable of batches. A list can begin anywhere; anything else is read again up to where it was."""

    def __init__(self, loader: Any, randomness: Randomness) -> None:
        self.loader, self.randomness = loader, randomness
        self._named = NamedLoader(loader)
        self.taken, self.epoch, self.in_pass = 0, 0, 0
        self._iterator: Iterator[Any] | None = None
        self._skip = 0
        self.notes: list[str] = []
        if not randomness.by_sample:
            self.notes.append("random numbers of the data: stream='mmengine' draws them from the global generators")

    def fetch(self) -> Any:
        """The next batch."""
        self._seed_fetch()
        batch = _next_of(self)
        if batch is END:
            raise ValueError("the training loader gives no batch: it is empty, or an iterator that was used up")
        self.taken, self.in_pass = self.taken + 1, self.in_pass + 1
        return batch

    def _seed_fetch(self) -> None:
        if self.randomness.by_sample:
            seed_generators(derive_seed("fetch", self.randomness.seed, self.taken))

    def restart(self) -> Iterator[Any]:
        """Begin a pass, at the place that `seek` chose."""
        if self._iterator is not None:
            self.epoch, self.in_pass = self.epoch + 1, 0
        set_epoch(self.loader, self.epoch)
        skip, self._skip = self._skip, 0
        with sheltered(self.loader):
            return self._from(skip) if skip else iter(self._named)

    def _from(self, skip: int) -> Iterator[Any]:
        if isinstance(self.loader, Sequence):
            return (self.loader[i] for i in range(skip, len(self.loader)))
        if is_plain(self.loader) and self.loader.batch_sampler is not None:
            rest = _Skipped(self.loader.batch_sampler, skip)
            return iter(copy_loader(self.loader, NamedDataset(self.loader.dataset), rest))
        LOG.warning(
            "this loader cannot begin in the middle: reading %d batches again (not with resume_data=False)", skip
        )
        iterator: Iterator[Any] = iter(self._named)
        for number in range(self.taken - skip, self.taken):
            if self.randomness.by_sample:
                seed_generators(derive_seed("fetch", self.randomness.seed, number))
            next(iterator)
        self._seed_fetch()
        return iterator

    def seek(self, iteration: int) -> None:
        """Go to where a run stands after `iteration` batches."""
        try:
            size = len(self.loader)
        except TypeError:
            size = 0
        endless = getattr(getattr(self.loader, "sampler", None), "endless", False)
        self._go(*(divmod(iteration, size) if size and not endless else (0, iteration)), iteration)

    def _go(self, epoch: int, in_pass: int, taken: int) -> None:
        self.close()
        self._iterator = None
        self.epoch, self.in_pass, self.taken, self._skip = epoch, in_pass, taken, in_pass

    def state(self) -> dict[str, Any]:
        """Passes and batches."""
        return {"pass": self.epoch, "batch": self.in_pass, "taken": self.taken}

    def load(self, state: dict[str, Any], iteration: int) -> None:
        """Go to a saved position."""
        if "batch" in state:
            self._go(int(state["pass"]), int(state["batch"]), int(state["taken"]))
        else:
            self.seek(iteration)

    def close(self) -> None:
        """Stop the workers; the next batch is the one that would have come."""
        if self._iterator is not None and self._iterator is not self.loader:
            shut_down(self._iterator)
            self._iterator, self._skip = None, self.in_pass


class _Skipped:
    """A batch sampler without its first batches; indices are drawn, nothing is read."""

    def __init__(self, sampler: Any, skip: int) -> None:
        self.sampler, self.skip = sampler, skip

    def __iter__(self) -> Iterator[Any]:
        from itertools import islice

        return islice(iter(self.sampler), self.skip, None)


def _next_of(source: StatefulSource | PlainSource) -> Any:
    if source._iterator is None:
        source._iterator = source.restart()
    batch = next(source._iterator, END)
    if batch is END:
        source._iterator = source.restart()
        batch = next(source._iterator, END)
    return batch


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the loader's sampler which pass begins."""
    for name in ("sampler", "batch_sampler"):
        part = getattr(loader, name, None)
        for target in (part, getattr(part, "sampler", None)):
            if callable(getattr(target, "set_epoch", None)):
                target.set_epoch(epoch)  # type: ignore[union-attr]
