"""ProgressBarHook: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import datetime
import functools
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from seg_hooks.checks import number, one_of
from seg_hooks.hook import Hook
from seg_hooks.loaders import length_of
from seg_hooks.processes.world import rank
from seg_hooks.protocols import Data, Logs, Progress

__all__ = ["ProgressBarHook"]

Method = TypeVar("Method", bound=Callable[..., None])
SOONEST, LATEST = 0.1, 5.0  # seconds from one drawing to the next
BUDGET = 8e-5  # seconds a step, on average


class _Runner(Progress, Logs, Data, Protocol):
    pass


def _harmless(method: Method) -> Method:
    """Switch the display off at an exception, with one line in the log: progress must never end a run."""

    @functools.wraps(method)
    def guarded(self: ProgressBarHook, runner: _Runner, *args: object, **kwargs: object) -> None:
        if self.display is None:
            return
        try:
            method(self, runner, *args, **kwargs)
        except Exception as error:
            self.display = None
            runner.logger.warning("ProgressBarHook is switched off: %s: %s", type(error).__name__, error)

    return guarded  # type: ignore[return-value]


class ProgressBarHook(Hook[_Runner]):
    """Shows progress, speed and remaining time; costs under 0.1 ms a step and never raises.

    A drawing takes one or two milliseconds, so the next one waits for as many steps as share that; but no longer than
    five seconds, which with slow steps is less than a thousandth of the time. Nothing that is shown would have to be
    brought from the device.

    Args:
        kind: 'rich' (a live bar; `pip install rich`), 'plain' (a line in the log now and then), 'none',
            or 'auto': a bar on a terminal where rich is installed, else plain.
        plain_every: Seconds between two plain lines.
    """

    priority = "LOWEST"

    def __init__(self, kind: str = "auto", plain_every: float = 60.0) -> None:
        self.kind = one_of("ProgressBarHook", "kind", kind, ("auto", "rich", "plain", "none"))
        self.plain_every = number("ProgressBarHook", "plain_every", plain_every, above=0)
        self.display: Any = _Nothing()
        self._next = self._drawn = 0.0
        self._steps = 0

    @_harmless
    def before_train(self, runner: _Runner) -> None:
        """Show the bar."""
        self.display = self._choose(runner)
        self.display.start("train", runner.iter, runner.max_iters)
        self._next = self._drawn = time.monotonic()

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Move on, where a drawing is due."""
        self._steps += 1
        if time.monotonic() >= self._next or runner.iter + 1 == runner.max_iters:
            self._show(runner, runner.iter + 1)

    @_harmless
    def before_val_epoch(self, runner: _Runner) -> None:
        """Say that validation is under way."""
        self.display.note("val", runner.iter)

    def after_val_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Say how far validation is, where a drawing is due."""
        self._steps += 1
        if time.monotonic() >= self._next:
            self._show_pass(runner, batch_idx + 1)

    @_harmless
    def after_val_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Say that training goes on."""
        self.display.note("train", runner.iter)

    @_harmless
    def after_train(self, runner: _Runner) -> None:
        """Take the bar away."""
        self.display.stop()

    @_harmless
    def after_run(self, runner: _Runner) -> None:
        """Take the bar away, also after an exception."""
        self.display.stop()

    @_harmless
    def on_exception(self, runner: _Runner) -> None:
        """Take the bar away, so that what is printed next has a line of its own."""
        self.display.stop()

    @_harmless
    def _show(self, runner: _Runner, done: int) -> None:
        began = time.monotonic()
        self.display.move(done)
        self._pace(began)

    @_harmless
    def _show_pass(self, runner: _Runner, done: int) -> None:
        began = time.monotonic()
        total = length_of(runner.val_dataloader)
        self.display.note(f"val {done}" if total is None else f"val {done}/{total}", runner.iter)
        self._pace(began)

    def _pace(self, began: float) -> None:
        """Decide when to draw again: the steps until then share the cost of this drawing."""
        now = time.monotonic()
        a_step = (began - self._drawn) / max(self._steps, 1)
        self._next = now + min(LATEST, max(SOONEST, (now - began) / BUDGET * a_step))
        self._drawn, self._steps = now, 0

    def _choose(self, runner: _Runner) -> Any:
        kind = self.kind
        if rank() != 0:
            return _Nothing()
        if kind == "auto":
            kind = "rich" if sys.stdout.isatty() and _has_rich() else "plain"
        if kind == "rich":
            if not _has_rich():
                runner.logger.warning("ProgressBarHook: rich is not installed (pip install rich).")
                return _Plain(runner.logger, self.plain_every)
            return _Rich()
        return _Plain(runner.logger, self.plain_every) if kind == "plain" else _Nothing()


class _Nothing:
    """No display."""

    def start(self, text: str, done: int, total: int) -> None: ...

    def move(self, done: int) -> None: ...

    def note(self, text: str, done: int) -> None: ...

    def stop(self) -> None: ...


class _Plain(_Nothing):
    """A line in the log now and then."""

    def __init__(self, logger: logging.Logger, every: float) -> None:
        self.logger, self.every = logger, every

    def start(self, text: str, done: int, total: int) -> None:
        self.first, self.total = done, total
        self.began = self.last = time.monotonic()

    def move(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        speed = (done - self.first) / max(now - self.began, 1e-9)
        left = datetime.timedelta(seconds=int((self.total - done) / max(speed, 1e-9)))
        share = 100 * done // max(self.total, 1)
        self.logger.info("%d of %d steps (%d %%), %.1f a second, %s left", done, self.total, share, speed, left)


class _Rich(_Nothing):
    """A live bar, drawn when it is told to and no thread of its own."""

    def start(self, text: str, done: int, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            auto_refresh=False,
            transient=True,
        )
        self.task = self.bar.add_task(text, total=total, completed=done)
        self.bar.start()

    def move(self, done: int) -> None:
        self.bar.update(self.task, completed=done, refresh=True)

    def note(self, text: str, done: int) -> None:
        self.bar.update(self.task, description=text, completed=done, refresh=True)

    def stop(self) -> None:
        self.bar.stop()


def _has_rich() -> bool:
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return False
    return True
