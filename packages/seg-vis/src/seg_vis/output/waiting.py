"""What one backend is sent: at once, or later where it fails; in order, bounded, and never at the run's expense."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from seg_vis.names import printable

__all__ = ["Line"]

PATIENCE = 1.0
"""Seconds that one call may take for what waits."""
SLOW, RESTS = 0.01, 10
"""After a try that took so many seconds and failed, ten times as long passes until the next."""
MOST = 10_000
MOST_BYTES = 256 * 2**20
"""So many calls, and bytes of pictures, wait for a backend."""
MISTAKES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, NameError, AssertionError)
"""Errors of a call or a backend that come again however often one tries."""
FULL = ("disk is full", "No space left")
LONGEST = 300
"""So many letters of an error are shown."""
Log = logging.getLogger
Call = Callable[[], Any]


class Waiting(NamedTuple):
    """A call that a backend has not taken yet."""

    call: Call
    size: int


class Line:
    """The calls of one backend. One that fails is reported once, gets what it lacks later, and never stops a run.

    What failed waits in memory, oldest first, and is sent before anything newer of its kind; of too much, the oldest
    is dropped and counted. A backend that takes long to fail (a server that does not answer) rests for ten times as
    long, so that it never costs more than a tenth of the run. A library that is not installed is an error all the
    same: nothing would ever reach such a backend.

    Args:
        name: the backend's name, for messages.

    Attributes:
        lacks: how many calls were dropped, or had not reached the backend when it was closed.

    Example:
        >>> got, line = [], Line("list")
        >>> line.take(lambda: got.append(1), "rows")
        >>> got
        [1]
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._queues: dict[str, deque[Waiting]] = {}
        self._lock = threading.RLock()
        self._failing = self._works = False
        self.lacks = 0
        self._late = self._lost = 0
        self._rest_until: dict[str, float] = {}

    def take(self, call: Call, kind: str, size: int = 0) -> None:
        """Make one call, behind those of its kind that wait.

        Args:
            call: makes it; where it fails, nothing of it may have been done.
            kind: `rows`, `pictures`, ...: a picture may find no room where a row does.
            size: bytes that it keeps in memory.
        """
        with self._lock:
            queue = self._queues.setdefault(kind, deque())
            queue.append(Waiting(call, size))
            self._bound(queue)
            now = time.monotonic()
            if self._send(kind, now + PATIENCE):
                self._send_all(now + PATIENCE)
            self._late += bool(queue)

    def finish(self, close: Call | None) -> None:
        """Send what waits, then close the backend; say what it lacks if it still fails."""
        with self._lock:
            self._send_all(None)
            if close is not None:
                self._try(close)
            self.lacks += sum(map(len, self._queues.values()))
            lacking = [f"{len(queue)} {kind}" for kind, queue in self._queues.items() if queue]
            if lacking:
                lost = f"; {self._lost} more calls were dropped" if self._lost else ""
                Log("seg_vis").warning("backend %s still fails; it lacks %s%s", self.name, ", ".join(lacking), lost)
            self._queues.clear()

    def _send_all(self, until: float | None) -> None:
        """Send what waits of any kind; where nothing does any more, a backend that failed works again."""
        sent = [self._send(kind, until) for kind in list(self._queues)]
        if self._failing and self._works and all(sent):
            lost = f"; {self._lost} were lost" if self._lost else ""
            Log("seg_vis").warning(
                "backend %s works again; %d calls that waited are written%s", self.name, self._late, lost
            )
            self._failing, self._late, self._lost = False, 0, 0

    def _send(self, kind: str, until: float | None) -> bool:
        """Make the calls of a kind in order, two at least, no more than there is time for; whether none is left."""
        queue, done = self._queues[kind], 0
        if queue and until is not None and time.monotonic() < self._rest_until.get(kind, 0.0):
            return False
        while queue and (done < 2 or until is None or time.monotonic() < until):
            start = time.monotonic()
            error = self._try(queue[0].call, queue.popleft)
            if error is not None and not self._is_its_own_fault(error, queue):
                took = time.monotonic() - start
                self._rest_until[kind] = start + took * (RESTS + 1) if took > SLOW else start
                return False
            if error is not None:
                queue.popleft()
                self._lost, self.lacks = self._lost + 1, self.lacks + 1
            done += 1
        return not queue

    def _is_its_own_fault(self, error: Exception, queue: deque[Waiting]) -> bool:
        """Tell whether a call fails that others need not wait for: a mistake, or the newest call goes through."""
        if isinstance(error, MISTAKES):
            return True
        if isinstance(error, OSError) or len(queue) < 2:
            return False
        if self._try(queue[-1].call, queue.pop) is not None:
            return False
        self._late -= 1
        return True

    def _try(self, call: Call, done: Call = bool) -> Exception | None:
        """Make one call, and return what it failed with."""
        try:
            call()
        except ImportError as error:
            done()
            if threading.current_thread() is threading.main_thread():
                raise
            self._report(error)
        except Exception as error:
            self._report(error)
            return error
        else:
            self._works = True
            done()
        return None

    def _bound(self, queue: deque[Waiting]) -> None:
        """Drop the oldest of too much."""
        while len(queue) > MOST or (len(queue) > 1 and queue[-1].size and sum(w.size for w in queue) > MOST_BYTES):
            queue.popleft()
            self._lost, self.lacks = self._lost + 1, self.lacks + 1
            if self._lost == 1:
                Log("seg_vis").warning("too much waits for backend %s: from now on the oldest is dropped", self.name)

    def _report(self, error: Exception) -> None:
        self._works = False
        if not self._failing:
            self._failing = True
            text = "backend %s failed (%s: %s); the run goes on, %s, the other backends get everything"
            fate = "this call is left out" if isinstance(error, MISTAKES) else "what it lacks waits and is tried again"
            lines = str(error).splitlines() or [""]
            full = [line for line in lines if any(words in line for words in FULL)]
            expected = isinstance(error, OSError) or bool(full)  # its words say it all
            reason = printable((full or lines)[0][:LONGEST])
            Log("seg_vis").warning(text, self.name, type(error).__name__, reason, fate, exc_info=not expected)
