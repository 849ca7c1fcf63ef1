"""When ranks ask one another whether the run is to stop, so that all of them stop after the same step.

A signal reaches one rank, and a hook may end the training on one of them only, while the others are on their way into
the next exchange of gradients. To ask after every step would cost a part of each; so it is asked about every quarter of
a second, after a number of steps that rank 0 chooses by its clock and tells with the answer. Words go round a ring of
all ranks: with a thousand of them one question may take a twentieth of a second, and is asked more seldom for it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sized

from seg_runner.distributed.world import World

__all__ = ["Agreement"]

EVERY = 0.25
"""Seconds from one question to the next."""
SHARE = 0.005
"""The part of the time that questions may take: where one takes longer than this part of EVERY, they become rarer."""
MOST = 200
"""Steps from one question to the next, at most: they may become slower."""


class Agreement:
    """What the ranks have agreed on: whether to stop, and by which signal.

    Args:
        world: The processes of the run.

    Attributes:
        signal: The name of the signal that all stop for; None while there is none.
        stop: Whether a hook has ended the training (`stop_training`), on whichever rank.

    >>> agreement = Agreement(World())
    >>> agreement.ask(1, "SIGTERM"), agreement.signal, agreement.stop
    (None, 'SIGTERM', False)
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.signal: str | None = None
        self.stop = False
        self._next, self._interval = 0, 1
        self._asked, self._at = 0, time.perf_counter()
        self._quickest: float | None = None  # seconds of a question; the others were also a wait for a slower rank

    def ask(self, done: int, requested: str | None, stop: bool = False, *, now: bool = False) -> None:
        """Ask all ranks, where it is due after so many steps; called by all ranks after the same steps.

        Args:
            done: Finished steps.
            requested: The signal that has come to this rank.
            stop: Whether a hook of this rank has ended the training.
            now: Ask whatever the step: all ranks have come here, from a validation for example.
        """
        if done < self._next and not now:
            return
        if self.world.rank == 0:
            self._choose(done)
        number = 0 if requested is None else int(signal.Signals[requested])
        proposed = self._interval if self.world.rank == 0 else 0
        began = time.perf_counter()
        number, stopped, self._interval = self.world.largest([number, int(stop), proposed])
        took = time.perf_counter() - began
        self._quickest = took if self._quickest is None else min(self._quickest, took)
        if number and self.signal is None:
            self.signal = signal.Signals(number).name
        self.stop = self.stop or bool(stopped)
        self._next = done + self._interval
        self._asked, self._at = done, time.perf_counter()

    def _choose(self, done: int) -> None:
        """Choose the steps up to the next question by the time that those since the last one took."""
        steps = done - self._asked
        if steps > 0:
            every = max(EVERY, (self._quickest or 0.0) / SHARE)
            wanted = int(every * steps / max(time.perf_counter() - self._at, 1e-9))
            self._interval = max(1, min(wanted, 4 * self._interval, MOST))

    def ends(self, one: Agreement | None, done: int, requested: str | None) -> bool:
        """Tell whether all ranks break a pass off after `done` batches (0: it is not asked); `one`: of `of_pass`."""
        if one is None or not done:
            return False
        one.ask(done, requested)
        self.signal = one.signal
        return self.signal is not None

    def of_pass(self, loader: object) -> Agreement | None:
        """Return an agreement for one pass over a loader; None where ranks have different numbers of batches.

        Such a pass is seen through to its end: a rank that has no batch left would not be asked any more.
        """
        length = len(loader) if isinstance(loader, Sized) else -1
        most, least = self.world.largest([length, -length])
        return Agreement(self.world) if most == -least and most >= 0 else None
