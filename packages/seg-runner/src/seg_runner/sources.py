"""Where training batches come from: a torch loader made seekable; other kinds of loaders: `plain_sources.py`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from seg_runner.loaders import SeededDataset, WorkerInit, describe_sample, is_streaming
from seg_runner.orders import Key, Order, Position, order_of
from seg_runner.plain_sources import END, PlainSource, StatefulSource, copy_loader, quiet, shut_down, shut_down_loader
from seg_runner.randomness import Randomness

__all__ = ["IndexedSource", "Source", "position_state", "source_of"]


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
        self._reading = _shared_rows(workers) if workers else None
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
        if batch is END:
            self._begin(Position(self.position.epoch + 1))
            batch = self._take()
        if batch is END:
            raise ValueError(
                f"the training loader gives no batch: {len(self.dataset)} samples, "
                f"{self.keys.order.step} wanted per step. "
                f"Is the data set empty, or smaller than one batch with drop_last?"
            )
        return batch

    def _begin(self, position: Position) -> None:
        self.position = self.keys.start = position
        with quiet():
            self._iterator = iter(self._private)

    def _take(self) -> Any:
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except StopIteration:
            return END
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
        return position_state(self.position)

    def load(self, state: dict[str, Any], iteration: int) -> None:
        """Go to a saved position; reads nothing."""
        self.close()
        if "pass" in state:
            self.position = Position(int(state["pass"]), int(state["offset"]))
        else:
            self.seek(iteration)

    def close(self) -> None:
        """Stop the workers."""
        shut_down_loader(getattr(self, "_private", None))
        if self._iterator is not None:
            shut_down(self._iterator)
            self._iterator = None


def position_state(position: Position) -> dict[str, Any]:
    """A position as checkpoints hold it."""
    return {"pass": position.epoch, "offset": position.offset}


def _shared_rows(workers: int) -> torch.Tensor:
    """What each worker is reading: pid, pass, index, and whether anything is told."""
    rows: Any = torch.zeros(workers, 4, dtype=torch.int64)
    return rows.share_memory_()  # type: ignore[no-any-return]
