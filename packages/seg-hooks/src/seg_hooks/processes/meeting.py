"""Signals to one rank that end all: the ranks learn of them in the same step, and at little cost."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from seg_hooks.processes.world import World

__all__ = ["Meeting"]

NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")
EVERY = 0.25
"""Seconds from one question to the next, about: so long the other ranks may not know of a signal."""
SHARE = 0.005
"""The part of the time that questions may take: where one takes longer than this part of EVERY, they become rarer."""
MOST = 200
"""Steps from one question to the next, at the most: they may become slower."""
TWICE = 0.2
"""Seconds in which the same signal counts once: a terminal sends it to all processes, and torchrun sends it on."""


class Meeting:
    """Asks all ranks, every so many steps, whether a signal came to one of them, or one of them wants to stop.

    How many steps, rank 0 decides by the time that they take, and tells it in the answer: so every rank asks after the
    same step, and nothing is sent in between. While it is open, a signal is only noted; one that the script handles
    itself is left to it. The same signal once more does what it would do without us. Outside the main thread none is
    handled.

    Args:
        world: The ranks.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.came = 0
        self._at = 0.0
        self._before: dict[int, Any] = {}
        self._next = self._asked = 0
        self._since = time.monotonic()
        self._quickest: float | None = None  # seconds of a question; the others were also a wait for a slower rank

    def open(self, step: int) -> None:
        """Take the signals; the first question is asked at once."""
        self._next = self._asked = step
        self._since = time.monotonic()
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = signal.signal(number, self._note)

    def close(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def soon(self) -> None:
        """Ask after this step; called by all ranks."""
        self._next = 0

    def ask(self, step: int, stop: bool, now: bool = False) -> tuple[int, bool]:
        """Return the signal that came to any rank (0: none), and whether any wants to stop; nothing between questions.

        Args:
            step: The number of finished steps, equal on all ranks.
            stop: Whether this rank wants to stop.
            now: Ask, whether it is time or not; equal on all ranks, too.
        """
        if step < self._next and not now:
            return 0, False
        done = step - self._asked
        a_step = (time.monotonic() - self._since) / done if done else EVERY
        every = max(EVERY, (self._quickest or 0.0) / SHARE)
        wanted = min(MOST, max(1, int(every / max(a_step, 1e-9))))
        began = time.monotonic()
        came, stops, steps = self.world.largest(self.came, int(stop), 0 if self.world.rank else wanted)
        self._next, self._asked, self._since = step + steps, step, time.monotonic()
        took = self._since - began
        self._quickest = took if self._quickest is None else min(self._quickest, took)
        return came, bool(stops)

    def _note(self, number: int, frame: FrameType | None) -> None:
        moment = time.monotonic()
        if self.came == number and moment - self._at > TWICE:
            signal.signal(number, self._before.pop(number))
            signal.raise_signal(number)
        if not self.came:
            self.came, self._at = number, moment
