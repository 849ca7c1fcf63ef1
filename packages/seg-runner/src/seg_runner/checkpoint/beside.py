"""Work beside a write: a thread that hashes what passes, or hands to the disk what was written."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Self

__all__ = ["Beside"]

Call = tuple[Callable[..., object], tuple[Any, ...]]


class Beside:
    """Calls functions one after the other in a thread of its own, which begins with the first of them.

    Leaving the block waits for all of them. Where no thread can be had (the interpreter is ending, the user's limit is
    reached), each call is made at once.

    >>> found = []
    >>> with Beside("example") as beside:
    ...     beside(found.append, 1)
    ...     beside(found.append, 2)
    >>> found
    [1, 2]
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._alone = False

    def __call__(self, function: Callable[..., object], *args: Any) -> None:
        """Have `function(*args)` called; it must not raise."""
        if self._thread is None and not self._alone:
            self._begin()
        if self._alone:
            function(*args)
        else:
            self._calls.put((function, args))

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self.name)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread, self._alone = None, True

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, args = call
            function(*args)

    def wait(self) -> None:
        """Until all calls so far were made."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
