"""Where training batches come from: a torch loader made seekable; other kinds of loaders: `plain_sources.py`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from seg_runner.checks import count_of
from seg_runner.data.loader import copy_loader, is_plain
from seg_runner.data.named_samples import Reading, SeededDataset, describe_sample
from seg_runner.data.order import Key, Order, Position, order_of
from seg_runner.data.other_sources import END, PlainSource, StatefulSource
from seg_runner.data.workers import WorkerInit, shut_down, shut_down_loader, starting
from seg_runner.errors import add_note
from seg_runner.process.randomness import Randomness

__all__ = ["IndexedSource", "Source", "position_state", "source_of"]

MOST = 8
"""So many samples of a batch are named in an error."""


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
    if is_plain(loader) and randomness.by_sample:
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
        self._reading = Reading(workers) if workers else None
        dataset = SeededDataset(self.loader.dataset, randomness.seed, self._reading)
        user = self.loader.worker_init_fn
        init = user if isinstance(user, WorkerInit) else WorkerInit(user)
        private = torch.Generator().manual_seed(randomness.seed)
        self._private = copy_loader(self.loader, dataset, self.keys, worker_init_fn=init, generator=private)

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
        if self._reading is None and not self.loader.pin_memory:
            self._iterator = _read_here(self._private)
            return
        with starting():
            self._iterator = iter(self._private)

    def _take(self) -> Any:
        assert self._iterator is not None
        try:
            batch = next(self._iterator)
        except StopIteration:
            return END
        except Exception as error:
            death = None
            if self._reading is not None and isinstance(error, RuntimeError | ConnectionError | EOFError):
                death = self._reading.death(self._iterator, error, self.dataset)
            if death is None:
                self._name_batch(error)
                raise
            self.close()
            raise RuntimeError(death) from error
        self.last, self.position = self.keys.pending.popleft()
        return batch

    def _name_batch(self, error: Exception) -> None:
        """Where no sample is named, the samples could be read, but not put together."""
        told = "\n".join([str(error), *getattr(error, "__notes__", [])])
        if "while reading" in told or not self.keys.pending:
            return
        keys = self.keys.pending[0][0]
        names = [describe_sample(self.dataset, index) for _, index, _ in keys[:MOST]]
        more = f" and {len(keys) - MOST} more" if len(keys) > MOST else ""
        add_note(
            error, f"while putting together {', '.join(names)}{more}: do all of them have the same size and parts?"
        )

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
        if "pass" not in state:
            self.seek(iteration)
            return
        epoch, offset = count_of(state["pass"]), count_of(state.get("offset"))
        if epoch is None or offset is None:
            raise ValueError(f"the checkpoint stands at a place in the data that there is none of: {state!r:.200}")
        self.position = Position(epoch, offset)

    def close(self) -> None:
        """Stop the workers."""
        shut_down_loader(getattr(self, "_private", None))
        if self._iterator is not None:
            shut_down(self._iterator)
            self._iterator = None


def _read_here(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader without workers, as torch reads them; its own iterator takes 15 us more for each."""
    dataset, collate = loader.dataset, loader.collate_fn
    if loader.batch_sampler is None:
        yield from (collate(dataset[key]) for key in loader.sampler)
    else:
        yield from (collate([dataset[key] for key in keys]) for keys in loader.batch_sampler)


def position_state(position: Position) -> dict[str, Any]:
    """A position as checkpoints hold it."""
    return {"pass": position.epoch, "offset": position.offset}
