"""Signals that ask a run to save and stop, and the exit codes it then leaves with."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["DEFAULT_SIGNALS", "StopRequested", "StopSignals", "exit_code"]

DEFAULT_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")
LOG = logging.getLogger("seg_runner")


def exit_code(name: str) -> int:
    """The exit code of a run that saved and stopped on a signal: 128 + its number, as shells count.

    >>> exit_code("SIGTERM"), exit_code("SIGINT")
    (143, 130)
    """
    return 128 + int(signal.Signals[name])


class StopRequested(Exception):
    """Leaves a validation in which a signal came: it leaves no metrics, and a resumed run makes up for it."""


class StopSignals:
    """While it is open, the named signals only set `requested`; the loop looks at it after each step.

    The first signal is remembered, later ones change nothing, except that a second SIGINT leaves the process at once.
    The handlers from before come back at the end. Outside the main thread nothing is installed.

    Args:
        names: Names of signals; those that this system lacks are left out. Empty: none is handled.

    Raises:
        ValueError: A name that is no signal, or one that cannot be handled (SIGKILL, SIGSTOP).

    >>> with StopSignals(["SIGTERM"]) as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print(stop.requested)
    SIGTERM
    """

    def __init__(self, names: Iterable[str] | None = DEFAULT_SIGNALS) -> None:
        self.names = [_checked(name) for name in (DEFAULT_SIGNALS if names is None else names)]
        self.requested: str | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in self.names:
            if hasattr(signal, name):
                number = getattr(signal, name)
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker just forked
            return
        name = signal.Signals(number).name
        if name == "SIGINT" and self.requested is not None:
            os.write(2, b"\nsecond interrupt: leaving at once\n")
            os._exit(exit_code("SIGINT"))
        if self.requested is None:
            self.requested = name
            os.write(2, f"\n{name}: finishing the step, then saving; interrupt again to leave at once\n".encode())


def _checked(name: str) -> str:
    if not isinstance(name, str) or name in ("SIGKILL", "SIGSTOP") or not name.startswith("SIG"):
        raise ValueError(f"signals: {name!r} cannot be handled; use names like {', '.join(DEFAULT_SIGNALS)}")
    if not hasattr(signal, name) and name not in DEFAULT_SIGNALS:
        raise ValueError(f"signals: this system has no {name!r}")
    return name
