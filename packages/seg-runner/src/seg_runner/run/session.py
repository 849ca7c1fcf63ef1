"""What stands round a loop: signals, logging, files, determinism; and what is put back after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from seg_runner.assembly.hooks import fill_stand_ins
from seg_runner.errors import add_note
from seg_runner.evaluation.ranks import refuse_several
from seg_runner.log.setup import library_log, remove_start
from seg_runner.loop.evaluate import EvalLoop
from seg_runner.model import changes as wrap
from seg_runner.process.environment import NO_DETERMINISTIC_FORM, nondeterministic_operations
from seg_runner.process.lock import only_run
from seg_runner.process.signals import StopNow, StopSignals, read_signals
from seg_runner.run import stopping
from seg_runner.run.earlier_run import check_folder

__all__ = ["session"]


@contextmanager
def session(runner: Any, mode: str) -> Iterator[None]:
    """Round one `train`, `val` or `test`: the hook table is frozen, signals are heard, files are closed at the end.

    What fails before its first step leaves no folder behind.
    """
    refuse_several("Runner")  # a process group may have been set up since the runner was made
    runner.log_dir.mkdir(parents=True, exist_ok=True)  # an earlier try may have failed
    fill_stand_ins(runner)
    runner.table.running, runner.began_at = True, None
    try:
        with (
            library_log(runner.logger),
            _signals(runner, mode),
            _closing(runner, mode),
            _training_alone(runner, mode),
            _told(runner),
        ):
            yield
    except BaseException:
        if not runner.underway:
            remove_start(runner.log_dir, runner.made_folders)
        raise


@contextmanager
def _closing(runner: Any, mode: str) -> Iterator[None]:
    """However it ends, what can be kept is kept, hooks hear of it, and workers and writers end."""
    try:
        yield
    except BaseException as error:
        try:
            _stopped_by(runner, mode, error)
        finally:
            _break_off(runner, error)
        raise
    finally:
        runner.table.running = False
        _close_data(runner)
        runner.saver.wait()


def _stopped_by(runner: Any, mode: str, error: BaseException) -> None:
    """Keep what can be kept; a signal leaves by its own exception."""
    if isinstance(error, StopNow):
        if runner.signals.overdue and runner.began_at is not None:
            stopping.break_off(runner, runner.signals.requested, error)
        stopping.stop_for_signal(runner, runner.signals.requested)
    if isinstance(error, Exception):
        if NO_DETERMINISTIC_FORM in str(error):
            add_note(error, "randomness=dict(deterministic='warn') uses such operations and lists them")
        stopping.keep_interrupted(runner, mode, error)


def _break_off(runner: Any, error: BaseException) -> None:
    """Let hooks put back what they changed for a while: `on_exception(runner)`, where a hook has it."""
    try:
        runner.call_hook("on_exception")
    except Exception as second:  # the first error is the one to report
        add_note(error, f"(a hook's on_exception failed too: {second!r})")


def _close_data(runner: Any) -> None:
    """Stop the workers of all loaders; a later `train()` or `val()` starts them where the run stands."""
    batches = getattr(runner.train_loop, "batches", None)
    if batches is not None and not runner.resuming:
        batches.close()
    for mode in ("val", "test"):
        if isinstance(runner.loops[mode], EvalLoop):
            runner.loops[mode].close()


@contextmanager
def _training_alone(runner: Any, mode: str) -> Iterator[None]:
    """One run trains in a folder, and does not mix with an earlier one."""
    if mode != "train" or runner.rank != 0:
        yield
        return
    with only_run(runner.work_dir):
        if not runner.underway:
            check_folder(runner)
        yield


@contextmanager
def _signals(runner: Any, mode: str) -> Iterator[None]:
    if mode != "train":
        yield
        return
    told = partial(stopping.last_words, runner)
    with StopSignals(**read_signals(runner.parts["signals"]), last_words=told) as signals:
        runner.signals = signals
        signals.waiting = True  # until the first step there is nothing to save
        try:
            yield
        finally:
            runner.signals = None
        stopping.tell_lost(runner)
        if signals.requested is not None:
            stopping.leave_finished(runner, signals.requested)


@contextmanager
def _told(runner: Any) -> Iterator[None]:
    """What is only known at the end, into the log."""
    with _determinism(runner), _compilation(runner):
        yield


@contextmanager
def _compilation(runner: Any) -> Iterator[None]:
    if not runner.parts["compile"]:
        yield
        return
    with wrap.graph_breaks() as found:
        yield
    reasons = "; ".join(f"{count} x {reason}" for reason, count in found.items()) or "none"
    runner.logger.info("compile: graph breaks in this run: %s", reasons)


@contextmanager
def _determinism(runner: Any) -> Iterator[None]:
    if runner.randomness.deterministic != "warn":
        yield
        return
    with nondeterministic_operations() as found:
        try:
            yield
        finally:
            names = ", ".join(found) or "none"
            runner.logger.info("Operations that stayed non-deterministic in this run: %s", names)
