"""Virtual ranks of one process that have to meet in the middle of a pass, as synced batch norms do.

Each runs in a thread of its own, and only one of them at a time: it hands over where it has to wait for the others.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import torch

from seg_runner.distributed.norms import AllProcesses

__all__ = ["Lockstep", "RankMeeting"]


class RankMeeting:
    """Where virtual ranks meet: those of this process in lockstep, then the processes.

    A copy of a model (an average of weights, a pickled one) is no part of the training: it meets nobody.
    """

    def __init__(self) -> None:
        self.lockstep: Lockstep | None = None

    def rows(self, row: torch.Tensor) -> torch.Tensor:
        """Return the rows of all virtual ranks in their order."""
        if self.lockstep is None:
            return AllProcesses().rows(row)
        return self.lockstep.meet(row)

    def __reduce__(self) -> tuple[type[RankMeeting], tuple[()]]:
        return type(self), ()


class _Abandoned(BaseException):
    """Ends a thread whose pass nobody waits for any more."""


class Lockstep:
    """Runs one function for each of several virtual ranks, up to where they meet, again and again.

    Args:
        count: How many there are.
        enter: Called with the number of the one that goes on: puts what is its own where it finds it.
        leave: Called with the number of the one that waits: takes it back.
    """

    def __init__(self, count: int, enter: Callable[[int], None], leave: Callable[[int], None]) -> None:
        self.count, self._enter, self._leave = count, enter, leave
        self._turns = [threading.Semaphore(0) for _ in range(count)]
        self._done = threading.Semaphore(0)
        self._current = 0
        self._rows: list[torch.Tensor] = []
        self._all = torch.empty(0)
        self._error: BaseException | None = None

    def run(self, work: Callable[[int], None]) -> None:
        """Call a function with the number of each; returns when all are through.

        Raises:
            Exception: what one of them raised.
            RuntimeError: they do not all meet equally often.
        """
        self._error, self._rows = None, []
        threads = [
            threading.Thread(target=self._thread, args=(place, work), daemon=True) for place in range(self.count)
        ]
        for thread in threads:
            thread.start()
        try:
            self._turns[0].release()
            self._done.acquire()
        except BaseException as stopped:  # a signal
            self._abandon(stopped)
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def meet(self, row: torch.Tensor) -> torch.Tensor:
        """Wait until all have come here, and return the rows of all; called by the one whose turn it is."""
        place = self._current
        if len(self._rows) != place:
            raise RuntimeError("the virtual ranks do not pass equally many synced batch norms in one step")
        self._rows.append(row)
        if place == self.count - 1:
            self._all = AllProcesses().rows(torch.stack(self._rows).view(-1)).view(-1, row.numel())
            self._rows = []
        self._leave(place)
        self._turns[(place + 1) % self.count].release()
        self._wait(place)
        self._enter(place)
        return self._all

    def _wait(self, place: int) -> None:
        self._turns[place].acquire()
        if self._error is not None:
            raise _Abandoned
        self._current = place

    def _thread(self, place: int, work: Callable[[int], None]) -> None:
        try:
            with contextlib.suppress(_Abandoned), torch.autograd.set_multithreading_enabled(False):
                self._wait(place)
                work(place)
                if place == self.count - 1:
                    if self._rows:
                        raise RuntimeError("the virtual ranks do not pass equally many synced batch norms in one step")
                    self._done.release()
                else:
                    self._turns[place + 1].release()
        except BaseException as error:
            self._abandon(error)

    def _abandon(self, error: BaseException) -> None:
        """Let all threads end."""
        if self._error is None:
            self._error = error
        for turn in self._turns:
            turn.release()
        self._done.release()
