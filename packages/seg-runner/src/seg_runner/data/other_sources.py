"""Training batches from loaders that cannot be asked for their order: any iterable, and ones with their own state."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, TypeGuard

from seg_runner.data.named_dataset import NamedDataset
from seg_runner.data.private_loader import NamedLoader, copy_loader, is_map_style
from seg_runner.data.seeds import seed_generators
from seg_runner.data.workers import shield_workers, shut_down
from seg_runner.process.randomness import Randomness

__all__ = ["IterableSource", "StatefulSource", "keeps_position"]

LOG = logging.getLogger("seg_runner")
END = object()
"""Stands for a batch where a pass is over: a batch may be anything, None too."""


class StatefulLoader(Protocol):
    """A loader that keeps its own position: torchdata's StatefulDataLoader, or one of that shape."""

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass, or go on where the state says."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Go to a position."""


def keeps_position(loader: object) -> TypeGuard[StatefulLoader]:
    """Tell whether a loader keeps its own position."""
    return all(callable(getattr(loader, name, None)) for name in ("state_dict", "load_state_dict"))


class _Source(ABC):
    """Batches as a loader gives them, pass after pass."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._iterator: Iterator[Any] | None = None

    def open(self) -> None:
        """Begin a pass now where none has begun."""
        if self._iterator is None:
            self._iterator = self._begin()

    def _next(self) -> Any:
        """Return the next batch, over the end of a pass; END where a whole pass has none."""
        if self._iterator is None:
            self._iterator = self._begin()
        batch = next(self._iterator, END)
        if batch is END:
            self._iterator = self._begin()
            batch = next(self._iterator, END)
        return batch

    @abstractmethod
    def _begin(self) -> Iterator[Any]:
        """Begin a pass."""


class StatefulSource(_Source):
    """A loader with `state_dict` and `load_state_dict` of its own (torchdata's), used as it is."""

    position = None  # known only until the next batch is read

    def __init__(self, loader: StatefulLoader) -> None:
        super().__init__()
        self.loader = loader

    def fetch(self) -> Any:
        """Return the next batch."""
        batch = self._next()
        if batch is END:
            raise ValueError("the training loader gives no batch: its data set is empty")
        return batch

    def _begin(self) -> Iterator[Any]:
        with shield_workers(self.loader):
            return iter(self.loader)

    def reseed(self, randomness: Randomness) -> None:
        """Do nothing: such a loader draws its own numbers."""

    def seek(self, iteration: int) -> None:
        """Note that such a loader goes to a saved state only."""
        if iteration:
            self.notes = ["position in the data: the loader keeps its own state, and the checkpoint has none of it"]

    def state(self) -> dict[str, Any]:
        """Return the loader's own state."""
        return {"loader": self.loader.state_dict()}

    def load(self, state: Mapping[str, Any], iteration: int) -> None:
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


class IterableSource(_Source):
    """Any iterable of batches. A list can begin anywhere; anything else is read again up to where it was."""

    def __init__(self, loader: Iterable[Any], randomness: Randomness, tells_passes: bool = True) -> None:
        super().__init__()
        self.loader, self.randomness, self.tells_passes = loader, randomness, tells_passes
        self._named = NamedLoader(loader)
        self.taken, self.epoch, self.in_pass = 0, 0, 0
        self._skip = 0
        self._again = 0  # batches that are to be read again, and dropped
        if not randomness.by_sample:
            text = "random numbers of the data: stream=%r draws them from the global generators"
            self.notes.append(text % randomness.stream)

    @property
    def position(self) -> dict[str, Any]:
        """Return where the stream stands after the batch fetched last."""
        return self.state()

    def fetch(self) -> Any:
        """Return the next batch."""
        if self._again:
            self._read_again()
        self._seed_fetch(self.taken)
        batch = self._next()
        if batch is END:
            raise ValueError("the training loader gives no batch: it is empty, or an iterator that was used up")
        self.taken, self.in_pass = self.taken + 1, self.in_pass + 1
        return batch

    def _seed_fetch(self, number: int) -> None:
        if self.randomness.by_sample:
            seed_generators("fetch", self.randomness.seed, number)

    def reseed(self, randomness: Randomness) -> None:
        """Follow another seed."""
        self.randomness = randomness

    def _begin(self) -> Iterator[Any]:
        """Begin a pass, at the place that `seek` chose."""
        if self._iterator is not None:
            self.epoch, self.in_pass = self.epoch + 1, 0
        if self.tells_passes:
            set_epoch(self.loader, self.epoch)
        skip, self._skip = self._skip, 0
        with shield_workers(self.loader):
            return self._from(skip) if skip else iter(self._named)

    def _from(self, skip: int) -> Iterator[Any]:
        if isinstance(loader := self.loader, Sequence):
            return (loader[i] for i in range(skip, len(loader)))
        if is_map_style(loader) and loader.batch_sampler is not None:
            rest = _Skipped(loader.batch_sampler, skip)
            return iter(copy_loader(loader, NamedDataset(loader.dataset), rest))
        LOG.warning(
            "this loader cannot begin in the middle: reading %d batches again (not with resume_data=False)", skip
        )
        iterator: Iterator[Any] = iter(self._named)
        for number in range(self.taken - skip, self.taken):
            self._seed_fetch(number)
            next(iterator)
        self._seed_fetch(self.taken)
        return iterator

    def seek(self, iteration: int) -> None:
        """Go to where a run stands after `iteration` batches."""
        try:
            size = len(self.loader)  # type: ignore[arg-type]  # a loader without a length raises the TypeError
        except TypeError:
            size = 0
        endless = getattr(getattr(self.loader, "sampler", None), "endless", False)
        self._go(*(divmod(iteration, size) if size and not endless else (0, iteration)), iteration)

    def _read_again(self) -> None:
        """Read what the run has read before, so that the global generators stand where they stand in MMEngine."""
        count, self._again = self._again, 0
        LOG.warning(
            "reading %d batches again, as MMEngine does: stream='onedl' draws their indices alone, and "
            "resume_data=False begins a fresh pass",
            count,
        )
        self.epoch, self.in_pass = 0, 0
        for _ in range(count):
            self._next()
            self.in_pass += 1

    def _go(self, epoch: int, in_pass: int, taken: int) -> None:
        if self.randomness.starts_early and self._iterator is not None and self.taken == self._again:
            self.epoch, self.in_pass, self.taken, self._again = epoch, in_pass, taken, taken
            return
        self.close()
        self._iterator = None
        self.epoch, self.in_pass, self.taken, self._skip = epoch, in_pass, taken, in_pass

    def state(self) -> dict[str, Any]:
        """Count passes and batches."""
        return {"pass": self.epoch, "batch": self.in_pass, "taken": self.taken}

    def load(self, state: Mapping[str, Any], iteration: int) -> None:
        """Go to a saved position."""
        if "batch" in state:
            self._go(int(state["pass"]), int(state["batch"]), int(state["taken"]))
        else:
            self.seek(iteration)

    def close(self) -> None:
        """Stop the workers; the next batch is the one that would have come."""
        self._again = 0
        if self._iterator is not None and self._iterator is not self.loader:
            shut_down(self._iterator)
            self._iterator, self._skip = None, self.in_pass


class _Skipped:
    """A batch sampler without its first batches; indices are drawn, nothing is read."""

    def __init__(self, sampler: Iterable[object], skip: int) -> None:
        self.sampler, self.skip = sampler, skip

    def __iter__(self) -> Iterator[object]:
        return islice(self.sampler, self.skip, None)


def set_epoch(loader: object, epoch: int) -> None:
    """Tell the loader's samplers which pass begins."""
    for name in ("sampler", "batch_sampler"):
        part = getattr(loader, name, None)
        for target in (part, getattr(part, "sampler", None)):
            if callable(tell := getattr(target, "set_epoch", None)):
                tell(epoch)
