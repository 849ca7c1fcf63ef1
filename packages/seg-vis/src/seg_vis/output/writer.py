"""A queue that works off the calling thread, is bounded, and loses nothing at exit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Writer"]

Job = Callable[[], None]


class Writer:
    """Runs jobs one after another in a thread that lives only while there is work.

    The thread is no daemon: the interpreter waits for it before it ends, and before the exit handlers of libraries
    that the jobs use. `put` waits while the queue is full.

    Args:
        size: jobs that may wait; 1 or more.

    Example:
        >>> done = []
        >>> writer = Writer(2)
        >>> for number in range(5):
        ...     writer.put(lambda number=number: done.append(number))
        >>> writer.wait()
        >>> done
        [0, 1, 2, 3, 4]
    """

    def __init__(self, size: int = 8) -> None:
        if size < 1:
            raise ValueError(f"the queue must hold one job at least, got {size}")
        self._size = size
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._running = False

    def put(self, job: Job) -> None:
        """Add a job; it must not raise. Waits while the queue is full."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._jobs) < self._size)
            self._jobs.append(job)
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="seg-vis writer", daemon=False).start()

    def wait(self) -> None:
        """Return when every job is done."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs and not self._running)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException:
                with self._changed:
                    self._running = False
                    self._changed.notify_all()
                raise

    def _next(self) -> Job | None:
        with self._changed:
            job = self._jobs.popleft() if self._jobs else None
            self._running = job is not None
            self._changed.notify_all()
            return job
