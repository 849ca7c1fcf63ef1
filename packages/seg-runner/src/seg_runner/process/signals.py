"""Signals that ask a run to save and stop, and the exit codes it then leaves with."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any

from seg_runner.checks import number as checked_number
from seg_runner.errors import did_you_mean
from seg_runner.process.watchdog import Arrivals, Watchdog, leave

__all__ = ["DEFAULT_SIGNALS", "StopNow", "StopRequested", "StopSignals", "exit_code", "leaving", "read_signals"]

DEFAULT_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
GRACE = 30.0
LONGEST = 7 * 86_400.0  # seconds; the clock of a waiting thread holds no much longer time


def exit_code(name: str) -> int:
    """Return the exit code of a run that saved and stopped on a signal: 128 + its number, as shells count.

    >>> exit_code("SIGTERM"), exit_code("SIGINT")
    (143, 130)
    """
    return 128 + int(signal.Signals[name])


def leaving(name: str) -> BaseException:
    """Return what a run raises that has saved and stops on this signal.

    An interrupt at a prompt or in a notebook is KeyboardInterrupt, which ends the cell and leaves the interpreter;
    everywhere else the process leaves with an exit code.
    """
    if name == "SIGINT" and is_interactive():
        return KeyboardInterrupt("the run has stopped")
    return SystemExit(exit_code(name))


def is_interactive() -> bool:
    """Tell whether somebody types at this interpreter: a notebook, IPython, `python -i`, a console in a program."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or shell() is not None


class StopRequested(Exception):
    """Leaves a validation in which a signal came: it leaves no metrics, and a resumed run makes up for it."""


class StopNow(BaseException):
    """Raised by the handler of a signal where the run only waits or prepares, or once its time is over.

    Attributes:
        between_steps: Whether the last step is done and the next one not begun, as far as the runner goes.
        number: The signal.
    """

    between_steps = True

    def __init__(self, number: int = 0) -> None:
        super().__init__(signal.Signals(number).name if number else "")
        self.number = number


class StopSignals:
    """While it is open, the named signals only set `requested`; the loop looks at it after each step.

    Where the run only waits (`waiting`), the handler raises StopNow at once. A second signal of the same kind, or an
    interrupt after any, leaves the process at once. A run that has not ended `grace` seconds after the first signal is
    broken off by StopNow and, where it does not get so far, left. The handlers from before come back at the end.
    Outside the main thread nothing is installed. SIGHUP, which a terminal sends that is closed, stays ignored where
    `nohup` has it ignored.

    Args:
        names: Names of signals; those that this system lacks are left out. Empty: none is handled.
        grace: Seconds from the first signal; None: no limit.
        last_words: Is told how the process ends, where it is left at once.
        tell: Is called with the signal's number, and whether this process leaves at once, where others of the run have
            to leave with it.

    Raises:
        ValueError: A name that is no signal, or one that cannot be handled (SIGKILL, SIGSTOP).

    >>> with StopSignals(["SIGTERM"]) as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print(stop.requested)
    SIGTERM
    """

    def __init__(
        self,
        names: Iterable[str] | None = DEFAULT_SIGNALS,
        grace: float | None = GRACE,
        last_words: Callable[[str], None] = lambda text: None,
        tell: Callable[[int, bool], None] = lambda number, at_once: None,
    ) -> None:
        self.names = [_checked(name) for name in (DEFAULT_SIGNALS if names is None else names)]
        self.numbers = frozenset(int(getattr(signal, name)) for name in self.names if hasattr(signal, name))
        self.grace, self.last_words, self.tell = grace, last_words, tell
        self.requested: str | None = None
        self.waiting = False
        self.overdue = self.broke_off = False
        self._arrivals = Arrivals()
        self._interruption: BaseException | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread() or not self.numbers:
            return self
        self._watchdog = Watchdog(self)
        for number in sorted(self.numbers):
            if signal.Signals(number).name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
        if self._watchdog is not None:
            self._watchdog.close()

    def wait(self) -> None:
        """From here on the handler raises, until `waiting` is False again; it does so now if a signal came before."""
        self.waiting = True
        if self.requested is not None:
            raise StopNow(signal.Signals[self.requested])

    def break_off(self, number: int) -> None:
        """Have the handler raise wherever the main thread is; the watchdog calls this."""
        self.overdue = True
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, number)  # ends a `sleep`, too
        else:
            signal.raise_signal(number)

    def heard(self, number: int) -> None:
        """Tell the others where nothing is trained yet: the main thread may be waiting for them, and hear no signal."""
        if self.waiting:
            self.tell(number, False)

    def interrupt(self, error: BaseException) -> None:
        """Have the main thread raise this error, wherever it is; where no signal is handled, nothing is done."""
        if self._before and hasattr(signal, "pthread_kill"):
            self._interruption = error
            signal.pthread_kill(threading.main_thread().ident or 0, min(self._before))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker just forked
            return
        if self._interruption is not None:
            error, self._interruption = self._interruption, None
            raise error
        first, name = self.requested is None, signal.Signals(number).name
        self.requested = self.requested or name
        if self.overdue and not self.broke_off:
            self.broke_off = True
            raise StopNow(number)
        if self._arrivals.again(number):
            leave(number, "a second time", self)
        if first and self.waiting:
            raise StopNow(number)
        if first:
            with contextlib.suppress(OSError):  # the terminal may be gone
                os.write(2, f"\n{name}: finishing the step, then saving; a second one leaves at once\n".encode())


def read_signals(given: object) -> dict[str, Any]:
    """Return the argument `signals` of a runner as arguments of StopSignals: a list of names, or a dict.

    Raises:
        TypeError: it is neither, or the dict holds another key.
        ValueError: a name that cannot be handled, or a grace that is no time.

    >>> read_signals(["SIGTERM"])
    {'names': ['SIGTERM'], 'grace': 30.0}
    """
    options = dict(given) if isinstance(given, Mapping) else {"names": given}
    for key in options:
        if key not in ("names", "grace"):
            near = did_you_mean(str(key), ["names", "grace"])
            raise TypeError(f"signals takes no {key!r}.{near} It takes names, grace")
    names, grace = options.get("names"), options.get("grace", GRACE)
    if isinstance(names, str) or not isinstance(names, Iterable | None):
        raise TypeError(f"signals must be a list of names, or dict(names=[...], grace=30), not {given!r}")
    if grace is not None:
        grace = float(checked_number(grace, "signals.grace (seconds)", above=0, most=LONGEST))
    listed = list(DEFAULT_SIGNALS if names is None else names)
    return {"names": [_checked(name) for name in listed], "grace": grace}


def _checked(name: str) -> str:
    if not isinstance(name, str) or name in ("SIGKILL", "SIGSTOP") or not name.startswith("SIG"):
        raise ValueError(f"signals: {name!r} cannot be handled; use names like {', '.join(DEFAULT_SIGNALS)}")
    if not hasattr(signal, name) and name not in DEFAULT_SIGNALS:
        raise ValueError(f"signals: this system has no {name!r}")
    return name
