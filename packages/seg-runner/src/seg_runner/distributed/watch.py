"""A thread of each rank that hears how others end: by an error, a signal, or without a word; and where they are.

Ranks that train over gloo see that another one is gone, with words of the transport's; over NCCL they would wait for
ever, and so does a rank that is reading data or drawing pictures. This thread hears it through the store by which the
ranks have met, and over a connection of its own. A rank that does not end by itself then is ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import distributed

from seg_runner.distributed.endings import Ending, OtherRankError, tell_elsewhere, words_of
from seg_runner.distributed.meet import leave_group_standing
from seg_runner.distributed.places import Whereabouts, describe_places

__all__ = ["Watch", "identify", "own_store"]

POLL = 0.5
"""Seconds between two looks at the store; with many ranks longer, since one machine answers all."""
TELL = 1.0
"""Seconds after which a rank tells anew where it is."""
REACT = 2.0
"""Seconds that the main thread has to end by what it meets itself, before it is interrupted."""
PATIENCE = 10.0
"""Seconds that it then has, before the process is ended."""
SAVING = 600.0
"""Seconds for which a save that is under way is waited for."""
CAUSE = 3.0
"""Seconds in which the cause of a lost connection is waited for."""
LOST = ("Connection", "connection", "peer", "Broken pipe", "recv", "NCCL", "closed")
"""Words of an error that may come of another rank's end."""


def identify() -> tuple[str, int, str]:
    """Return the machine of this process, or what looks like one to it, its number there, and when it started."""
    machine = socket.gethostname()
    with contextlib.suppress(OSError):
        machine += os.readlink("/proc/self/ns/pid")
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        machine += file.read().strip()
    return machine, os.getpid(), _started(os.getpid()) or ""


def own_store() -> Any:
    """Return a connection of this thread's own to the store of the process group; None where there is none."""
    try:
        store = distributed.distributed_c10d._get_default_store()
        return store.clone() if hasattr(store, "clone") else store
    except (RuntimeError, ValueError, AttributeError):
        return None


class Watch:
    """What this rank hears of the others, in the sessions of its runs.

    Args:
        rank: The number of this process.
        store: Where the ranks leave word.
        ids: What `identify` gives on each rank.
        timeout: Seconds that one rank waits for another, in collectives.

    Attributes:
        ending: How the session ended, once one rank has left it; None before.
    """

    def __init__(self, rank: int, store: Any, ids: Sequence[tuple[str, int, str]], timeout: float) -> None:
        self.rank, self.size, self.store, self.timeout = rank, len(ids), store, timeout
        mine = ids[rank][0]
        self._here = [(number, it[1], it[2]) for number, it in enumerate(ids) if it[0] == mine and number != rank]
        self.ending: Ending | None = None
        self.logger: logging.Logger | None = None
        self.interrupt: Callable[[BaseException], None] | None = None
        self._where = Whereabouts()
        self._session, self._depth = 0, 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._told_where, self._told_stuck, self._leaving = 0.0, False, False

    # -- what the main thread calls ---------------------------------------------------------------------------------

    @contextmanager
    def session(self, run: object = None, logger: logging.Logger | None = None) -> Iterator[None]:
        """Listen while this lasts; entered and left by all ranks. Inside another one it does nothing."""
        self._depth += 1
        try:
            if self._depth == 1:
                self._open(run, logger)
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._close()

    def _open(self, run: object, logger: logging.Logger | None) -> None:
        self._session += 1
        self.ending, self.logger, self._where = None, logger, Whereabouts(run)
        self._told_where, self._told_stuck, self._leaving = 0.0, False, False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(self._over,), name="other ranks", daemon=True)
        self._thread.start()

    def _close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(POLL)
        self.logger = self.interrupt = None

    @contextmanager
    def listening(
        self, log: Callable[[], str] = lambda: "", agreed: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Tell the other ranks how this one leaves; raise what has happened to another one where that is the cause.

        Args:
            log: Gives the log file of this rank.
            agreed: Tells whether all ranks leave, as they have agreed.
        """
        try:
            yield
        except BaseException as error:
            if not agreed():
                self._leave(error, log)
            raise

    def tell(self, ending: Ending) -> Ending:
        """Leave word of how this rank ends; returns the word that was left first."""
        with contextlib.suppress(Exception):  # the store may be gone, with its machine
            said = self.store.compare_set(self._key("end"), "", ending.to_json())
            return Ending.from_json(said) if said else ending
        return ending

    def check(self) -> None:
        """Raise what has happened to another rank.

        Raises:
            OtherRankError: another rank has left.
        """
        if self.ending is not None and self._depth:
            raise self.ending.error()

    def places(self, error: BaseException | None = None) -> str:
        """Return lines that say where each rank is; `error` is what this one has met there."""
        return self._all_places(self._tell_where(error))

    def _all_places(self, own: str) -> str:
        told = [own if rank == self.rank else self._read(f"place/{rank}") for rank in range(self.size)]
        return describe_places(told, self.rank)

    # -- how this rank leaves ---------------------------------------------------------------------------------------

    def _leave(self, error: BaseException, log: Callable[[], str]) -> None:
        leave_group_standing()
        self.interrupt, self._leaving = None, True  # this rank is on its way out, and may save
        text = words_of(error)
        late = isinstance(error, Exception) and ("timed out" in str(error).lower() or "timeout" in str(error).lower())
        if late:
            told = f"rank {self.rank} waited in vain for another one. Where the ranks are:\n{self.places(error)}"
            error.add_note(told)
            self._log(told)
        ending = self.ending or self._ended()
        if ending is None and not late and isinstance(error, Exception) and any(word in text for word in LOST):
            ending = self._cause()
        if isinstance(error, OtherRankError):  # told for that rank, which may be slower than this one to end
            self.ending = ending or self.tell(Ending(error.rank, str(error).removeprefix(f"rank {error.rank}: ")))
            return
        if ending is None:
            number = getattr(error, "number", 0) or signal_of(error)
            text = "has waited in vain for another rank" if late else text
            ending = self.tell(Ending(self.rank, text, log(), number))
        self.ending = ending
        if ending.rank == self.rank or not isinstance(error, Exception):
            return
        if ending.signal:
            self._log(f"rank {ending.rank}: {ending}; leaving, too", logging.WARNING)
            raise SystemExit(ending.code) from error
        if ending.text == text:
            tell_elsewhere(error)
            return
        raise ending.error() from error

    def _cause(self) -> Ending | None:
        """Wait a moment for word of the rank whose connection was lost."""
        until = time.monotonic() + CAUSE
        while (ending := self._ended()) is None and time.monotonic() < until:
            time.sleep(POLL / 5)
        return ending

    # -- the thread -------------------------------------------------------------------------------------------------

    def _work(self, over: threading.Event) -> None:
        pause = max(POLL, self.size / 500)
        while not over.wait(0.0 if not self._told_where else pause):
            ending = self._ended()
            if ending is not None and ending.rank != self.rank:
                self.ending = ending
                self._end(ending, over)
                return
            if not self._leaving and time.monotonic() - self._told_where > max(TELL, self.size / 50):
                self._tell_where()

    def _end(self, ending: Ending, over: threading.Event) -> None:
        """Give the main thread time to end, interrupt it, and end the process where it does not get there."""
        until = time.monotonic() + SAVING
        while not ending.at_once:
            if over.wait(REACT):
                return
            if self._where.look()["doing"] == "saving" and time.monotonic() < until:
                continue
            if self.interrupt is not None:
                self.interrupt(SystemExit(ending.code) if ending.signal else ending.error())
                self.interrupt = None
            if over.wait(PATIENCE):
                return
            if self._where.look()["doing"] != "saving" or time.monotonic() > until:
                break
        text = f"rank {ending.rank}: {ending}. Rank {self.rank} did not come to its end by itself, and is ended"
        self._log(f"{text}. It was here:\n" + "\n".join(self._where.look()["calls"]))
        print(text, file=sys.stderr, flush=True)
        with contextlib.suppress(Exception):
            for child in multiprocessing.active_children():
                child.kill()
        os._exit(ending.code)

    def _ended(self) -> Ending | None:
        """Return how a rank has left this session; None where all are there, as far as can be seen from here."""
        gone = next((rank for rank, number, started in self._here if _started(number) != started), None)
        try:
            said = self._read("end")
        except Exception as error:  # the process that answers is gone
            if gone is None:
                text = f"the store of the process group does not answer any more ({type(error).__name__})"
                return Ending(0, text, unsaid=True)
            said = None
        if said:
            return Ending.from_json(said)
        if gone is None:
            return None
        text = "has ended without a word: was it killed, for its memory perhaps?"
        return self.tell(Ending(gone, text, unsaid=True))

    def _tell_where(self, error: BaseException | None = None) -> str:
        self._told_where = time.monotonic()
        place = self._where.look(error)
        said = json.dumps(place)
        with contextlib.suppress(Exception):
            self.store.set(self._key(f"place/{self.rank}"), said)
        if place["since"] > 0.9 * self.timeout and not self._told_stuck:
            self._told_stuck = True
            text = "this rank has waited for %.0f s; after %.0f s it gives up (env_cfg.dist_cfg.timeout).\n%s"
            self._log(text % (place["since"], self.timeout, self._all_places(said)))
        return said

    def _read(self, name: str) -> str | None:
        key = self._key(name)
        return bytes(self.store.get(key)).decode() if self.store.check([key]) else None

    def _key(self, name: str) -> str:
        return f"{self._session}/{name}"

    def _log(self, text: str, level: int = logging.ERROR) -> None:
        if self.logger is not None:
            self.logger.log(level, "%s", text)


def signal_of(error: BaseException) -> int:
    """Return the number of the signal for which a process leaves by this exception; 0 for none."""
    if isinstance(error, KeyboardInterrupt):
        return 2
    code = error.code if isinstance(error, SystemExit) else None
    return code - 128 if isinstance(code, int) and 128 < code < 192 else 0


def _started(number: int) -> str | None:
    """Return when a process of this machine was started, as far as the system tells; None where it has ended."""
    try:
        with open(f"/proc/{number}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
    if os.name == "posix":
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
    return ""
