"""What stands round a loop: signals, the folder's lock, what is kept and closed however it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any, Protocol

from seg_runner.assembly.arguments import Arguments
from seg_runner.distributed.agreement import Agreement
from seg_runner.distributed.endings import Ending
from seg_runner.distributed.watch import Watch
from seg_runner.distributed.world import World
from seg_runner.errors import add_note
from seg_runner.log.setup import IN_FILE
from seg_runner.loop.evaluate import EvalLoop
from seg_runner.model.compilation import graph_breaks
from seg_runner.model.graph.options import compile_options
from seg_runner.process.environment import NO_DETERMINISTIC_FORM, nondeterministic_operations
from seg_runner.process.lock import only_run
from seg_runner.process.randomness import Randomness
from seg_runner.process.signals import StopNow, StopSignals, read_signals
from seg_runner.remote.mirror import Mirror
from seg_runner.run.earlier_run import UsesFolder, check_folder
from seg_runner.run.restarts import Started, go_on, saved_by_this_job
from seg_runner.run.stopping import (
    Stopped,
    break_off,
    keep_interrupted,
    last_words,
    leave_finished,
    stop_for_signal,
    what_is_lost,
)

__all__ = [
    "EndsTraining",
    "HasLog",
    "HasLoops",
    "HoldsFolder",
    "ReportsAtTheEnd",
    "TakesSignals",
    "asked_to_stop",
    "call_on_exception",
    "close_data",
    "finish_training",
    "hear_signals",
    "heed_signals",
    "hold_folder",
    "keep_state",
    "report_at_the_end",
    "with_other_ranks",
]


class TakesSignals(Stopped, Protocol):
    """A training that begins."""

    def hear(self, signals: StopSignals | None, agreement: Agreement | None = None) -> None:
        """Take over what may stop it; None: nothing does any more."""


@contextmanager
def hear_signals(runner: TakesSignals, signals: object) -> Iterator[StopSignals]:
    """Hear signals during a training; `signals` is the argument of that name."""
    watch, options = runner.world.watch, read_signals(signals)
    if watch is not None:
        options["tell"] = partial(_tell_signal, watch)
    with StopSignals(**options, last_words=partial(last_words, runner)) as heard:
        heard.waiting = True  # until the first step there is nothing to save
        runner.hear(heard, Agreement(runner.world) if runner.world.size > 1 else None)
        if watch is not None:
            watch.interrupt = heard.interrupt
        yield heard


def _tell_signal(watch: Watch, number: int, at_once: bool) -> None:
    watch.tell(Ending(watch.rank, f"{Signals(number).name}: leaving", signal=number, at_once=at_once))


class HasLog(Protocol):
    """A run with a log file on each rank."""

    @property
    def log_file(self) -> Path:
        """The log file of this rank."""

    @property
    def underway(self) -> bool:
        """Whether the folder of this start stays, whatever comes."""

    @property
    def agreement(self) -> Agreement | None:
        """What several ranks have agreed on; None with one."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""

    @property
    def world(self) -> World:
        """The processes of the run."""


@contextmanager
def with_other_ranks(runner: HasLog) -> Iterator[None]:
    """End with the other ranks; the log file of each has its own error."""

    def agreed() -> bool:
        return runner.agreement is not None and runner.agreement.signal is not None

    try:
        with runner.world.together(runner, runner.logger, lambda: str(runner.log_file) * runner.underway, agreed):
            yield
    except Exception as error:
        if runner.world.size > 1 and runner.underway:
            runner.logger.error("this rank ends by an error:", exc_info=error, extra=IN_FILE)
        raise


class HearsSignals(Protocol):
    """A training that signals may stop."""

    @property
    def signals(self) -> StopSignals | None:
        """The signals of this rank."""

    @property
    def agreement(self) -> Agreement | None:
        """What several ranks have agreed on; None with one."""

    @property
    def train_loop(self) -> Any:
        """The training loop."""

    @property
    def finished_iters(self) -> int:
        """Iterations whose update is done."""


def asked_to_stop(runner: HearsSignals, now: bool = False) -> str | None:
    """Return the name of the signal that the run stops for; several ranks agree on it, where that is due, or `now`."""
    signals, agreement = runner.signals, runner.agreement
    if signals is None:
        return None
    if agreement is None:
        return signals.requested
    if agreement.signal is None:
        stopped = bool(getattr(runner.train_loop, "stop_training", False))
        agreement.ask(runner.finished_iters, signals.requested, stopped, now=now)
    return agreement.signal


def heed_signals(runner: EndsTraining, now: bool = False) -> None:
    """Finish, between two steps, a save that is through; save and stop if a signal asked for it."""
    if runner.checkpoints.saver.ready:
        runner.checkpoints.saver.wait()
    if (name := asked_to_stop(runner, now)) is not None:
        stop_for_signal(runner, name)


class EndsTraining(Stopped, HearsSignals, Protocol):
    """A training between two steps, or at its end."""


def finish_training(runner: EndsTraining) -> str:
    """Say what a training that came to its end has lost, and leave if a signal came meanwhile; returns what is lost."""
    lost = runner.world.share(what_is_lost(runner))
    if lost and runner.world.rank == 0:
        runner.logger.error("%s", lost)
    if (name := asked_to_stop(runner, now=True)) is not None:
        leave_finished(runner, name)
    return lost


@contextmanager
def keep_state(runner: Stopped, signals: StopSignals) -> Iterator[None]:
    """Keep what can be kept where a training ends before its time; a signal leaves by its own exception."""
    try:
        yield
    except StopNow as stop:
        if signals.requested is None:
            raise
        if signals.overdue and runner.began_at is not None:
            break_off(runner, signals.requested, stop)
        stop_for_signal(runner, signals.requested)
    except Exception as error:
        keep_interrupted(runner, error)
        raise


@contextmanager
def call_on_exception(call_hook: Callable[[str], None]) -> Iterator[None]:
    """Let hooks put back what they changed for a while: `on_exception(runner)`, where a hook has it."""
    try:
        yield
    except BaseException as error:
        try:
            call_hook("on_exception")
        except Exception as second:  # the first error is the one to report
            add_note(error, f"(a hook's on_exception failed too: {second!r})")
        raise


class HasLoops(Protocol):
    """A runner whose loops may have workers."""

    @property
    def resuming(self) -> bool:
        """Whether a checkpoint is being read."""

    @property
    def train_loop(self) -> Any:
        """The training loop, or None."""

    @property
    def val_loop(self) -> Any:
        """The validation loop, or None."""

    @property
    def test_loop(self) -> Any:
        """The test loop, or None."""


def close_data(runner: HasLoops) -> None:
    """Stop the workers of all loaders; a later `train()` or `val()` starts them where the run stands."""
    batches = getattr(runner.train_loop, "batches", None)
    if batches is not None and not runner.resuming:
        batches.close()
    for loop in (runner.val_loop, runner.test_loop):
        if isinstance(loop, EvalLoop):
            loop.close()


class HoldsFolder(UsesFolder, Started, Protocol):
    """A run that is about to train in its folder, on one or several ranks."""

    @property
    def remote(self) -> Mirror | None:
        """What keeps the folder in line with an address, where it lies at one."""


@contextmanager
def hold_folder(runner: HoldsFolder, mode: str) -> Iterator[None]:
    """Let one run train in a folder, and not mix with an earlier one; rank 0 sees to it for all."""

    def take() -> str:
        stack.enter_context(only_run(runner.work_dir))
        saved = "" if runner.underway or runner.resumed else saved_by_this_job(runner)
        if not (runner.underway or saved):
            check_folder(runner)
        if runner.remote is not None:
            runner.remote.take()
        return saved

    with ExitStack() as stack:
        if mode == "train" and (saved := runner.world.first(take)):
            go_on(runner, saved)
        yield


class ReportsAtTheEnd(Protocol):
    """A runner with something to tell at the end of a run."""

    @property
    def arguments(self) -> Arguments:
        """The arguments."""

    @property
    def randomness(self) -> Randomness:
        """Where random numbers come from."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


@contextmanager
def report_at_the_end(runner: ReportsAtTheEnd) -> Iterator[None]:
    """Log what is only known at the end: where compiling broke off, and which operations are not deterministic."""
    with _determinism(runner), _compilation(runner):
        try:
            yield
        except Exception as error:
            if NO_DETERMINISTIC_FORM in str(error):
                add_note(error, "randomness=dict(deterministic='warn') uses such operations and lists them")
            raise


@contextmanager
def _compilation(runner: ReportsAtTheEnd) -> Iterator[None]:
    if compile_options(runner.arguments["compile"]) is None:
        yield
        return
    with graph_breaks() as found:
        yield
    reasons = "; ".join(f"{count} x {reason}" for reason, count in found.items()) or "none"
    runner.logger.info("compile: graph breaks in this run: %s", reasons)


@contextmanager
def _determinism(runner: ReportsAtTheEnd) -> Iterator[None]:
    if runner.randomness.deterministic != "warn":
        yield
        return
    with nondeterministic_operations() as found:
        try:
            yield
        finally:
            names = ", ".join(found) or "none"
            runner.logger.info("Operations that stayed non-deterministic in this run: %s", names)
