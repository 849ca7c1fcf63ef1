"""Where training batches come from: a seekable torch loader, a loader that knows its own state, any other iterable."""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from seg_runner.loaders import SeededDataset, WorkerInit, describe_sample, is_streaming
from seg_runner.orders import Key, Order, Position, order_of
from seg_runner.randomness import Randomness, derive_seed, seed_generators

__all__ = ["IndexedSource", "PlainSource", "Source", "StatefulSource", "source_of"]

LOG = logging.getLogger("seg_runner")


class Source(Protocol):
    """One stream of batches."""

    notes: list[str]

    def fetch(self) -> Any:
        """The next batch; a new pass begins where one ends."""

    def seek(self, iteration: int) -> None:
        """Go to where a run stands after `iteration` batches."""

    def state(self) -> dict[str, Any]:
        """The position after the batch fetched last."""

    def load(self, state: dict[str, Any], iteration: int) -> None:
        """Go to a saved position."""

    def close(self) -> None:
        """Stop the workers."""


def source_of(loader: Any, randomness: Randomness, rank: int, world_size: int) -> Source:
    """The right source for a loader."""
    if callable(getattr(loader, "state_dict", None)) and callable(getattr(loader, "load_state_dict", None)):
        return StatefulSource(loader)
    seekable = isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__
    if seekable and randomness.by_sample and not is_streaming(loader.dataset):
        return IndexedSource(loader, randomness, rank, world_size)
    return PlainSource(loader, randomness)


def copy_loader(loader: Any, dataset: Any, batch_sampler: Any, **changes: Any) -> DataLoader[Any]:
    """A torch DataLoader with another data set and order, otherwise like the given one."""
    names = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context")
    options = {name: getattr(loader, name) for name in (*names, "prefetch_factor", "persistent_workers")}
    with _quiet():
        return DataLoader(dataset, batch_sampler=batch_sampler, **{**options, **changes})


@contextmanager
def _quiet() -> Iterator[None]:
    """What torch has to say about the number of workers, it said to the user's loader."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


class _Keys:
    """The batch sampler of the private loader: the order from where it stands, remembering what is on its way."""

    def __init__(self, order: Order, one_sample: bool) -> None:
        self.order, self.one_sample = order, one_sample
        self.start = Position()
        self.pending: deque[tuple[list[Key], Position]] = deque()

    def __iter__(self) -> Iterator[Any]:
        self.pending.clear()
        for item in self.order.batches(self.start):
            self.pending.append(item)
            yield item[0][0] if self.one_sample else item[0]


class IndexedSource:
    """A torch loader with a map-style data set, rebuilt so that it can begin anywhere without reading a sample."""

    def __init__(self, loader: Any, randomness: Randomness, rank: int, world_size: int) -> None:
        self.notes: list[str] = []
        self.loader, self.rank, self.world_size = loader, rank, world_size
        self.dataset = loader.dataset
        self.position, self.last = Position(), [(0, 0, 0)]
        self._iterator: Iterator[Any] | None = None
        self.reseed(randomness)

    def reseed(self, randomness: Randomness) -> None:
        """Follow another seed (a resumed run keeps that of its checkpoint)."""
        self.close()
        seed = self._order_seed(randomness)
        self.keys = _Keys(order_of(self.loader, seed, self.rank, self.world_size), self.loader.batch_sampler is None)
        workers = self.loader.num_workers
        self._reading = torch.zeros(workers, 4, dtype=torch.int64).share_memory_() if workers else None
        dataset = SeededDataset(self.loader.dataset, randomness.seed, self._reading)
        user = self.loader.worker_init_fn
        init = user if isinstance(user, WorkerInit) else WorkerInit(user)
        private = torch.Generator().manual_seed(randomness.seed)
        if self.loader.batch_sampler is None:
            self._private = self._unbatched(dataset, init, private)
        else:
            self._private = copy_loader(self.loader, dataset, self.keys, worker_init_fn=init, generator=private)

    def _unbatched(self, dataset: Any, init: Any, private: torch.Generator) -> DataLoader[Any]:
        names = ("num_workers", "collate_fn", "pin_memory", "timeout", "prefetch_factor", "persistent_workers")
        options = {name: getattr(self.loader, name) for name in names}
        keys: Any = self.keys
        return DataLoader(dataset, batch_size=None, sampler=keys, worker_init_fn=init, generator=private, **options)

    def _order_seed(self, randomness: Randomness) -> int:
        """A seed that the user gave the sampler itself is kept; the runner's own follows the run."""
        sampler = getattr(self.loader.batch_sampler, "sampler", self.loader.sampler)
        own = getattr(sampler, "seed", None)
        first = getattr(self, "_first_seed", None)
        if first is None:
            self._first_seed = first = randomness.seed
        return own if isinstance(own, int) and own not in (0, first) else randomness.seed

    def fetch(self) -> Any:
        """The next batch; a new pass, and so new workers unless they are persistent, begins where one ends."""
        if self._iterator is None:
            self._begin(self.position)
        batch = self._take()
        if batch is _END:
            self._begin(Position(self.position.epoch + 1))
            batch = self._take()
        if batch is _END:
            raise ValueError(
                f"the training loader gives no batch: {len(self.dataset)} samples, "
                f"{self.keys.order.step} wanted per step. "
                f"Is the data set empty, or smaller than one batch with drop_last?"
            )
        return batch

    def _begin(self, position: Position) -> None:
        self.position = self.keys.start = position
        with _quiet():
            self._iterator = iter(self._private)

    def _take(self) -> Any:
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except StopIteration:
            return _END
        except (RuntimeError, ConnectionError, EOFError) as error:
            if (death := self._death(error)) is None:
                raise
            self.close()
            raise RuntimeError(death) from error
        self.last, self.position = self.keys.pending.popleft()
        return batch

    def _death(self, error: Exception) -> str | None:
        """Which worker died, and what it was reading then; None where all live."""
        workers = {worker.sentinel: worker for worker in getattr(self._iterator, "_workers", [])}
        if self._reading is None or str(error).startswith("Caught "):
            return None
        dead: list[Any] = []
        for _ in range(2):
            with suppress(RuntimeError):  # torch raises once more, right here, when it hears of the death itself
                dead = dead or wait(list(workers), timeout=2.0)
        pids = {workers[sentinel].pid for sentinel in dead}
        for pid, epoch, index, told in self._reading.tolist():
            if told and (pid in pids or f"pid {pid})" in str(error)):
                return (
                    f"the data loader's worker {pid} died while reading {describe_sample(self.dataset, index)} in pass "
                    f"{epoch}. Was it killed for memory? Fewer workers (num_workers) need less"
                )
        return None

    def seek(self, iteration: int) -> None:
        """Go anywhere; reads nothing."""
        self.close()
        self.position = self.keys.order.position(iteration)

    def state(self) -> dict[str, Any]:
        """Pass and offset: `offset` counts samples over all ranks, so batch size and ranks may change."""
        return {"pass": self.position.epoch, "offset": self.position.offset}

    def load(self, state: dict[str, Any], iteration: int) -> None:
        """Go to a saved position; reads nothing."""
        self.close()
        if "pass" in state:
            self.position = Position(int(state["pass"]), int(state["offset"]))
        else:
            self.seek(iteration)

    def close(self) -> None:
        """Stop the workers."""
        private = getattr(self, "_private", None)
        if private is not None and getattr(private, "_iterator", None) is not None:
            shut_down(private._iterator)
            private._iterator = None
        if self._iterator is not None:
            shut_down(self._iterator)
            self._iterator = None


_END = object()


def shut_down(iterator: Any) -> None:
    """Stop the workers of a torch loader's iterator now, not when it is collected."""
    stop = getattr(iterator, "_shutdown_workers", None)
    if callable(stop):
        stop()


class StatefulSource:
    """A loader with `state_dict` and `load_state_dict` of its own (torchdata's), used as it is."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.notes: list[str] = []
        self._iterator: Iterator[Any] | None = None

    def fetch(self) -> Any:
        """The next batch."""
        batch = _next_of(self)
        if batch is _END:
            raise ValueError("the training loader gives no batch: its data set is empty")
        return batch

    def restart(self) -> Iterator[Any]:
        """Begin a pass."""
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
        if batch is _END:
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
        return self._from(skip) if skip else iter(self.loader)

    def _from(self, skip: int) -> Iterator[Any]:
        if isinstance(self.loader, Sequence):
            return iter([self.loader[i] for i in range(skip, len(self.loader))])
        indexed = isinstance(self.loader, DataLoader) and not is_streaming(self.loader.dataset)
        if indexed and self.loader.batch_sampler is not None:
            return iter(copy_loader(self.loader, self.loader.dataset, _Skipped(self.loader.batch_sampler, skip)))
        LOG.warning(
            "this loader cannot begin in the middle: reading %d batches again (not with resume_data=False)", skip
        )
        iterator = iter(self.loader)
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
    batch = next(source._iterator, _END)
    if batch is _END:
        source._iterator = source.restart()
        batch = next(source._iterator, _END)
    return batch


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the loader's sampler which pass begins."""
    for name in ("sampler", "batch_sampler"):
        part = getattr(loader, name, None)
        for target in (part, getattr(part, "sampler", None)):
            if callable(getattr(target, "set_epoch", None)):
                target.set_epoch(epoch)  # type: ignore[union-attr]
