"""Passes over a loader, and the place in one from which a resumed run goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from seg_hooks.checks import has_state
from seg_hooks.loaders import batch_size_of, length_of, set_epoch
from seg_hooks.own_loop.generators import load_states, seed_opencv, states_of
from seg_hooks.own_loop.workers import PassSeeds, can_seed_reading, keeps_workers, pass_seed, shielded, starts_workers
from seg_hooks.randomness import load_random, random_state

__all__ = ["Passes"]

Batch = TypeVar("Batch")


class Passes:
    """Counts passes and batches; after a resume the next pass begins behind the batches that were trained on.

    The order of a pass follows from the random numbers at its start, those of generators in the data set included.
    They are kept, so the pass is begun again with them and the batches before the place are read and thrown away. A
    loader without a length starts from the beginning, unless it has a `state_dict` of its own (torchdata's). What
    cannot be as it was is said in a line 'not restored: ...'.

    Args:
        ranks: How many processes read batches side by side, each one as many samples as the others.
    """

    def __init__(self, ranks: int = 1) -> None:
        self.ranks = ranks
        self.number: int | None = None
        self.done = 0
        self.loader: Iterable[object] | None = None
        self.batch: object = None
        self.running = False  # whether `TrainState.batches` hands out batches, so that each step comes back to it
        self._begin: dict[str, Any] = {}
        self._skip = 0
        self._saved: dict[str, Any] = {}
        self._seeds = PassSeeds()
        self._seed = 0

    def begin(self, loader: Iterable[Batch], finished: int, logger: logging.Logger) -> Iterator[Batch]:
        """Return the rest of the pass that a resumed run stands in, or a new pass; `finished` steps are done."""
        self.loader = loader
        if self.number is None:
            self.number = finished // (length_of(loader) or finished + 1)
        saved, self._saved = self._saved, {}
        own = saved.get("own")
        itself: object = loader
        if own is not None and has_state(itself):
            itself.load_state_dict(dict(own))
            return self._by_itself(loader, logger)
        lost = self._find_place(saved, loader)
        skip = self._skip if self._skip < (length_of(loader) or 0) else 0
        if not skip and self._skip:
            self.number += 1
        if lost := lost + self._other_changes(saved, loader):
            logger.warning("not restored: %s.", "; ".join(lost))
        self._skip = 0
        self.done = skip
        set_epoch(loader, self.number)
        if skip:
            return self._again(loader, skip, saved, logger)
        if saved:  # in workers lie copies of what there was at the beginning
            _warn_of_lost(load_states(loader, saved.get("now", self._begin.get("inside", {}))), logger)
        self._begin = random_state(accelerator=False)
        self._begin["inside"] = states_of(loader)
        self._begin["new_workers"] = starts_workers(loader)
        return self._iterator(loader)

    def _iterator(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        self._seed = pass_seed(self.number or 0)
        seed_opencv(self._seed)  # workers take over what it gives here
        with shielded(loader, self.ranks > 1):
            return self._seeds.begin(loader, self._seed) if keeps_workers(loader) else iter(loader)

    def next_batch(self, iterator: Iterator[Batch]) -> Batch:
        """Take the next batch, after seeding OpenCV's generator, the only one whose state cannot be kept."""
        seed_opencv(self._seed + self.done)
        self.batch = batch = next(iterator)
        self.done += 1
        return batch

    def _by_itself(self, loader: Iterable[Batch], logger: logging.Logger) -> Iterator[Batch]:
        """Go on with the pass of a loader that keeps its place itself."""
        self.done, self._skip = self._skip, 0
        if getattr(loader, "num_workers", 0):
            logger.warning("not restored: random numbers that the workers of the %s draw.", type(loader).__name__)
        with shielded(loader, self.ranks > 1):
            iterator = iter(loader)
        first = list(islice(iterator, 1))
        if first:
            return chain(first, iterator)
        self.end()  # it stood at the end of its pass
        with shielded(loader, self.ranks > 1):
            return iter(loader)

    def _again(
        self, loader: Iterable[Batch], skip: int, saved: Mapping[str, Any], logger: logging.Logger
    ) -> Iterator[Batch]:
        """Begin the pass with the random numbers that it was begun with, and leave its first batches out."""
        logger.info("Reading %d batches of the data again, to go on where the run stopped.", skip)
        now = random_state(accelerator=False)
        load_random(self._begin)
        lost = load_states(loader, self._begin.get("inside", {}))
        with contextlib.nullcontext() if self._begin.get("new_workers", True) else _seed_drawn_apart(loader):
            iterator = self._iterator(loader)
        for _ in islice(iterator, skip):
            pass
        load_random(now)
        if saved.get("now"):
            lost = load_states(loader, saved["now"])
        _warn_of_lost(lost, logger)
        return iterator

    def _find_place(self, saved: Mapping[str, Any], loader: Iterable[object]) -> list[str]:
        """Find the batch to go on with, which is another one where batches hold another number of samples in all.

        Returns:
            What cannot be as it was.
        """
        before, here = saved.get("loader"), self._description(loader)
        if before is None:
            return []
        if self._skip and here["batches"] is None:
            return ["the place in the data, which has no length: the pass starts from the beginning"]
        earlier, now = before.get("samples"), here["samples"]
        if earlier and now and earlier != now and before.get("ranks", 1) != self.ranks:
            self._skip, rest = divmod(self._skip * earlier, now)
            return [f"the place in the data, of which {rest} samples come again"] if rest else []
        if before["batches"] != here["batches"]:
            return [f"the place in the data (a pass had {before['batches']} batches, and has {here['batches']})"]
        return []

    def _other_changes(self, saved: Mapping[str, Any], loader: Iterable[object]) -> list[str]:
        """Say what random numbers cannot be as they were: the loader is another one, or does not allow it."""
        before, here = saved.get("loader"), self._description(loader)
        if before is not None and before["workers"] != here["workers"]:
            return [f"random numbers that workers draw (there were {before['workers']}, and are {here['workers']})"]
        if before is not None and keeps_workers(loader) and not can_seed_reading(loader.dataset):
            return ["random numbers that persistent workers draw while they read a plain list"]
        return []

    def end(self) -> None:
        """Count a pass that is over."""
        self.number, self.done = (self.number or 0) + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the pass, the place in it, the random numbers at its start, and those in the data set now."""
        state: dict[str, Any] = {"pass": self.number or 0, "done": self.done, "begin": self._begin}
        if self.loader is None:
            return {**state, **self._saved}
        state["loader"] = self._description(self.loader)
        if not getattr(self.loader, "num_workers", 0):  # in workers lie copies of them
            state["now"] = states_of(self.loader)
        if has_state(self.loader):
            state["own"] = self.loader.state_dict()
        return state

    def _description(self, loader: object) -> dict[str, Any]:
        """Describe what the batches of a pass and the numbers drawn in it depend on."""
        found = {"batches": length_of(loader), "workers": getattr(loader, "num_workers", 0)}
        size = batch_size_of(loader)
        return {**found, "ranks": self.ranks, "samples": None if size is None else size * self.ranks}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on in the pass of a checkpoint."""
        self.number, self._skip = int(state_dict["pass"]), int(state_dict["done"])
        self.done, self._begin = self._skip, dict(state_dict["begin"])
        self._saved = {name: state_dict[name] for name in ("loader", "now", "own") if name in state_dict}
        self.loader = None


@runtime_checkable
class _HasGenerator(Protocol):
    generator: torch.Generator | None


def _warn_of_lost(lost: list[str], logger: logging.Logger) -> None:
    if lost:
        logger.warning("not restored: random generators in the data: %s.", ", ".join(lost))


@contextlib.contextmanager
def _seed_drawn_apart(loader: object) -> Iterator[None]:
    """Have torch draw the seed of new workers elsewhere: the pass that is begun again had its workers already."""
    if not isinstance(loader, _HasGenerator):
        yield
        return
    own = loader.generator
    loader.generator = torch.Generator().manual_seed(0)
    try:
        yield
    finally:
        loader.generator = own
