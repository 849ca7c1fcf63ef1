"""Passes over a loader, and the place in one from which a resumed run goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from seg_hooks.loaders import generators_of, length_of, set_epoch
from seg_hooks.randomness import load_random, random_state

__all__ = ["Passes"]


class Passes:
    """Counts passes and batches; after a resume the next pass begins behind the batches that were trained on.

    The order of a pass follows from the random numbers at its start. They are kept, so the pass is begun again with
    them and the batches before the place are read and thrown away. A loader without a length begins anew.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.done = 0
        self._begin: dict[str, Any] = {}
        self._skip = 0

    def begin(self, loader: Iterable[Any], finished: int, logger: logging.Logger) -> Iterator[Any]:
        """The rest of the pass that a resumed run stands in, or a new pass; `finished` steps are done."""
        if self.number is None:
            self.number = finished // (length_of(loader) or finished + 1)
        skip = self._skip if self._skip < (length_of(loader) or 0) else 0
        if not skip and self._skip:
            self.number += 1
        self._skip = 0
        self.done = skip
        set_epoch(loader, self.number)
        if not skip:
            self._begin = random_state(accelerator=False)
            self._begin["generators"] = [one.get_state() for one in generators_of(loader)]
            return iter(loader)
        return self._again(loader, skip, logger)

    def _again(self, loader: Iterable[Any], skip: int, logger: logging.Logger) -> Iterator[Any]:
        """The pass begun with the numbers that it was begun with, without its first batches."""
        logger.info("Reading %d batches of the data again, to go on where the run stopped.", skip)
        now = random_state(accelerator=False)
        load_random(self._begin)
        for generator, state in zip(generators_of(loader), self._begin["generators"], strict=False):
            generator.set_state(state)
        iterator = iter(loader)
        for _ in islice(iterator, skip):
            pass
        load_random(now)
        return iterator

    def end(self) -> None:
        """The pass is over."""
        self.number, self.done = (self.number or 0) + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """The pass, the place in it, and the random numbers at its start."""
        return {"pass": self.number or 0, "done": self.done, "begin": self._begin}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Stand in the pass of a checkpoint."""
        self.number, self._skip = int(state_dict["pass"]), int(state_dict["done"])
        self.done, self._begin = self._skip, dict(state_dict["begin"])
