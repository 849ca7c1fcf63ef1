"""A thread that ends the process where a signal asked for it and the main thread does not get there.

Python runs the handlers of signals in the main thread, between two of its instructions: while that thread waits in C
for a disk, a worker or a device, no handler runs. The bytes that `signal.set_wakeup_fd` writes come all the same, and
this thread reads them.

It saves nothing: from here nobody can tell whether a step is half done, and a file that says more than was computed is
worse than none. It has the main thread raise, which then saves what is consistent, and ends the process where the main
thread does not come to it. C code that keeps python's lock for ever stops this thread, too: only SIGKILL ends that.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import threading
import time
from functools import cache
from typing import Protocol

__all__ = ["Arrivals", "Watchdog", "Watched", "leave"]

TWICE = 0.2
"""Seconds in which the same signal counts once: `timeout` sends it to the process, and again to its group."""
REACTION = 2.0
"""Seconds that the main thread has to raise, before it is taken to hang in C."""
OPEN: set[int] = set()
"""Where the handlers of signals write to, in this process only."""


class Told(Protocol):
    """A run that is told of signals by another thread, and tells others."""

    def last_words(self, text: str) -> None:
        """Log how the run ends."""

    def heard(self, number: int) -> None:
        """Hear, in the watchdog's thread, of the first signal."""

    def tell(self, number: int, at_once: bool) -> None:
        """Tell the other processes of the run that this one leaves."""


class Watched(Told, Protocol):
    """A run that signals may stop."""

    numbers: frozenset[int]
    grace: float | None
    broke_off: bool

    def break_off(self, number: int) -> None:
        """Have the main thread raise; `broke_off` says that it did."""


class Arrivals:
    """Counts signals: whether one asks again for what was asked before."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def again(self, number: int) -> bool:
        """Tell whether this is a second signal of its kind, or an interrupt after any signal."""
        known, now = bool(self._since), time.monotonic()
        since = self._since.setdefault(number, now)
        return known and (number == signal.SIGINT or now - since > TWICE)


class Watchdog:
    """Watches over a run from the first signal to its end. Made and closed in the main thread."""

    def __init__(self, run: Watched) -> None:
        self.run = run
        self._arrivals, self._own, self._closed = Arrivals(), 0, False
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        _let_go_in_children()
        OPEN.add(self._write.fileno())
        self._before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._work, name="signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread once the run has ended, and give the place back to whoever had it."""
        signal.set_wakeup_fd(self._before)
        OPEN.discard(self._write.fileno())
        self._write.shutdown(socket.SHUT_WR)  # `close` alone ends nothing where a forked child has a copy
        self._write.close()
        self._thread.join()
        self._read.close()

    def _work(self) -> None:
        first = self._next(None)
        if first is None or self._arrivals.again(first):
            return
        self.run.heard(first)
        if self._ends_within(self.run.grace, first):
            return
        self._own = 1
        self.run.break_off(first)
        if self._ends_within(REACTION, first) or (self.run.broke_off and self._ends_within(self.run.grace, first)):
            return
        leave(first, f"and no end within {self.run.grace:g} seconds (signals=dict(grace=...))", self.run)

    def _ends_within(self, seconds: float | None, first: int) -> bool:
        """Tell whether the run ends in this time; a second signal ends the process."""
        until = None if seconds is None else time.monotonic() + seconds
        while (number := self._next(until)) is not None:
            if self._own and number == first:  # sent from here
                self._own = 0
            elif self._arrivals.again(number):
                leave(number, "a second time", self.run)
        return self._closed

    def _next(self, until: float | None) -> int | None:
        """Return the next signal that counts; None when the time is over, or the run."""
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.0)
            if not select.select([self._read], [], [], left)[0]:
                return None
            data = self._read.recv(1)
            if not data:
                self._closed = True
                return None
            if self._before >= 0:
                with contextlib.suppress(OSError):
                    os.write(self._before, data)
            if data[0] in self.run.numbers:
                return data[0]


def leave(number: int, why: str, run: Watched) -> None:
    """End the process now, and its workers, with the code that shells use for this signal."""
    text = f"{signal.Signals(number).name} {why}: leaving at once"
    with contextlib.suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
    with contextlib.suppress(Exception):  # whatever state the interpreter is in
        for child in multiprocessing.active_children():
            child.kill()
        words = threading.Thread(target=_last_words, args=(number, text, run), name="last words", daemon=True)
        words.start()  # the log may lie on the disk that hangs
        words.join(REACTION)
    os._exit(128 + number)


def _last_words(number: int, text: str, run: Watched) -> None:
    run.tell(number, True)
    run.last_words(text)


@cache
def _let_go_in_children() -> None:
    """Have forked children forget the socket: signals to a worker are not signals to the run."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.set_wakeup_fd(-1)
    if before not in OPEN and before >= 0:
        signal.set_wakeup_fd(before)
