"""The batches of validation and test, dealt out over the processes: those of one process, each read by one rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from seg_runner.data.order import has_known_order, is_dealt, pass_of
from seg_runner.data.private_loader import is_map_style
from seg_runner.distributed.world import World
from seg_runner.process.randomness import Randomness

__all__ = ["Deal", "deal_of", "why_not_dealt"]


class Deal:
    """A batch sampler with this rank's share of the batches: of ranks r, batch b is rank b mod r's.

    So every batch is one that a single process reads, too, and what is measured on it is the same to the last bit.
    Where batches run out before all ranks have equally many, a rank gets one that is no longer its own, so that all
    call the model equally often.

    Args:
        loader: The user's, over a data set with indices.
        world: The processes.
    """

    def __init__(self, loader: DataLoader[Any], world: World) -> None:
        self.loader, self.world = loader, world
        self.own = range(0)

    def __iter__(self) -> Iterator[Any]:
        rank, size = self.world.rank, self.world.size
        batches = self._batches()
        self.own = range(rank, len(batches), size)
        yield from (batches[number] for number in self.own)
        if len(self.own) < -(-len(batches) // size):
            yield batches[0]

    def _batches(self) -> list[Any]:
        """Return all batches of a pass, the same on all ranks."""
        batch_sampler = self.loader.batch_sampler
        if type(batch_sampler) is BatchSampler:
            indices = iter(self._indices(batch_sampler.sampler))
            size = batch_sampler.batch_size
            batches = list(iter(lambda: list(islice(indices, size)), []))
            return batches[:-1] if batch_sampler.drop_last and batches and len(batches[-1]) < size else batches
        if batch_sampler is None:
            return self._indices(self.loader.sampler)
        return self.world.share([list(batch) for batch in batch_sampler])  # whose numbers may be each rank's own

    def _indices(self, sampler: Iterable[int]) -> list[int]:
        if has_known_order(sampler) or isinstance(sampler, SequentialSampler):
            found = pass_of(sampler, getattr(sampler, "seed", 0) or 0, getattr(sampler, "epoch", 0))
            return [int(index) for index in found]
        return self.world.share([int(index) for index in sampler])


def deal_of(loader: object, randomness: Randomness, world: World) -> Deal | None:
    """Return how the batches of a loader are dealt; None where it is read as it is."""
    if world.size == 1 or why_not_dealt(loader) is not None or not is_map_style(loader):
        return None
    if not randomness.by_sample and has_known_order(_sampler(loader)):
        return None  # as in MMEngine, the sampler deals
    return Deal(loader, world)


def why_not_dealt(loader: object) -> str | None:
    """Say why batches of a loader cannot be dealt out; None where they can."""
    if not is_map_style(loader):
        return "is no torch DataLoader over a data set with indices"
    if is_dealt(_sampler(loader)) or is_dealt(loader.batch_sampler):
        return f"has a {type(_sampler(loader)).__name__}, which deals by itself"
    return None


def _sampler(loader: DataLoader[Any]) -> Any:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)
