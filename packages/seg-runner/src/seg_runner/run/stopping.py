"""How a run ends before its time: by a signal or an exception; what is saved then, and what is said about it.

The last line says only what was looked at after the write: that the file is there, whole, under this name; or else
what is lost, and which file a resume goes on from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from traceback import walk_tb
from typing import Protocol

import torch

from seg_runner.checkpoint.checkpoints import Checkpoints
from seg_runner.checkpoint.find import POINTER, broken_off, find_resumable
from seg_runner.checkpoint.read import read_place, verify_checkpoint
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.distributed.world import World
from seg_runner.errors import add_note
from seg_runner.process.signals import StopNow, leaving

__all__ = [
    "Stopped",
    "break_off",
    "keep_interrupted",
    "last_words",
    "leave_finished",
    "resume_advice",
    "stop_for_signal",
    "what_is_lost",
]


class Place(Protocol):
    """Where a run is at work."""

    @property
    def work_dir(self) -> Path:
        """Folder of the run."""

    @property
    def world(self) -> World:
        """The processes of the run."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


class Stopped(Place, Protocol):
    """A run that ends before its time."""

    @property
    def began_at(self) -> int | None:
        """The iteration at which this training began; None before its first step."""

    @property
    def finished_iters(self) -> int:
        """Iterations whose update is done."""

    @property
    def checkpoints(self) -> Checkpoints:
        """What writes checkpoints."""


def stop_for_signal(runner: Stopped, name: str) -> None:
    """Save once, between two steps, and leave with the code that shells use for this signal.

    Raises:
        SystemExit: always, but for an interrupt in a notebook or at a prompt: KeyboardInterrupt.
    """
    if not _made_steps(runner):
        text = "stopped before its first step: there was nothing to save"
        runner.logger.warning("%s: %s. %s", name, text, resume_advice(runner))
        raise leaving(name)
    done = runner.finished_iters
    path, trouble = _together(runner, runner.checkpoints.save_last)
    if path is None:
        text = f"stopped after iteration {done}, and its state is not saved: {trouble}. {resume_advice(runner)}"
    else:
        text = f"saved {path.name} after iteration {done} and stopped{_pointer_words(runner, path)}"
    runner.logger.warning("%s: %s", name, text)
    raise leaving(name)


def what_is_lost(runner: Stopped) -> str:
    """Say at the end of training what a resume lacks, since the disk did not take it; empty where nothing is lost."""
    failure, done = runner.checkpoints.saver.failure, runner.finished_iters
    if failure is None:
        return ""
    found = find_resumable(runner.work_dir)
    count = None if found is None else (read_place(found) or {}).get("iter")
    if isinstance(count, int) and count >= done:
        return ""
    cause = failure.strerror or failure
    return f"training is finished, and its last state is not saved: {cause}. {resume_advice(runner)}"


def leave_finished(runner: Stopped, name: str) -> None:
    """Leave, since a signal came when the last step was done: what comes after the run is left out.

    Raises:
        SystemExit: always, but for an interrupt in a notebook or at a prompt: KeyboardInterrupt.
    """
    runner.logger.warning("%s: training was finished, with %d iterations; leaving", name, runner.finished_iters)
    raise leaving(name)


def last_words(runner: Stopped, text: str) -> None:
    """Close the log of a process that is left at once: why, and, if there is time, which file a resume goes on from."""
    runner.logger.warning("%s", text)
    runner.logger.warning("%s", resume_advice(runner))


def break_off(runner: Stopped, name: str, stop: StopNow) -> None:
    """Leave a run that hung in a hook, a metric, or the user's code until the time that a signal leaves was over.

    Between two steps the state is kept, as after an exception. In the middle of one nobody knows what of the update is
    done, so nothing is written.

    Raises:
        SystemExit: always, but for an interrupt in a notebook or at a prompt: KeyboardInterrupt.
    """
    done = runner.finished_iters
    text = f"broken off after iteration {done}, since the run did not come to an end in time"
    if not stop.between_steps or not _made_steps(runner) or runner.world.rank:
        runner.logger.warning("%s: %s; nothing was saved. %s", name, text, resume_advice(runner))
        raise leaving(name)
    path, trouble = _attempt(runner.checkpoints.saver, runner.checkpoints.save_interrupted)
    kept = f"not saved: {trouble}. {resume_advice(runner)}" if path is None else f"in {path} ({_again(runner, path)})"
    runner.logger.warning("%s: %s; the state is %s", name, text, kept)
    raise leaving(name)


def keep_interrupted(runner: Stopped, error: Exception) -> None:
    """Save what is there after an exception in training as `interrupted_iter_N.pth`, the last choice of a resume.

    Nothing where no step was made since training began: a resume that was refused leaves no file to get round it.
    """
    if not _made_steps(runner) or runner.world.rank:  # of several ranks the first saves, and asks none of the others
        return
    if runner.world.size > 1 and _in_update(error):
        add_note(error, f"nothing was saved, since the update was half done. {resume_advice(runner)}")
        return
    path, trouble = _attempt(runner.checkpoints.saver, runner.checkpoints.save_interrupted)
    if path is None:
        add_note(error, f"the state could not be saved: {trouble}. {resume_advice(runner)}")
    else:
        add_note(error, f"the state is in {path} ({_again(runner, path)})")


def _in_update(error: BaseException) -> bool:
    """Tell whether an error came while an optimizer changed the weights."""
    trace = error.__traceback__ if error.__cause__ is None else error.__cause__.__traceback__
    return any(isinstance(frame.f_locals.get("self"), torch.optim.Optimizer) for frame, _ in walk_tb(trace))


def _made_steps(runner: Stopped) -> bool:
    return runner.began_at is not None and runner.finished_iters > runner.began_at


def _again(runner: Stopped, path: Path) -> str:
    if (read_place(path) or {}).get("finite") is False:
        return f"its weights are not finite. {resume_advice(runner)}"
    return f"resume={str(path)!r} goes on from there"


def _attempt(saver: CheckpointSaver, save: Callable[[], Path]) -> tuple[Path | None, str]:
    """Save; return the file, once it was read back whole, or None and what came in the way."""
    saver.ending = True
    try:
        path = save()
        saver.wait()
        if saver.wrote != path:
            return None, f"{path} was not written" if saver.failure is None else str(saver.failure.strerror)
        verify_checkpoint(path)
    except Exception as error:  # whatever a hook or a disk does: the run ends all the same
        return None, f"{type(error).__name__}: {error}"
    finally:
        saver.ending = False
    return path, ""


def _together(runner: Stopped, save: Callable[[], Path]) -> tuple[Path | None, str]:
    """Save on all ranks, which have all come here, and return how it went on rank 0, whose file it is."""
    if runner.world.size == 1:
        return _attempt(runner.checkpoints.saver, save)
    outcome: tuple[Path | None, str] = (None, "")
    try:
        outcome = (save(), "") if runner.world.rank else _attempt(runner.checkpoints.saver, save)
    except Exception as error:
        outcome = None, f"{type(error).__name__}: {error}"
    outcomes = runner.world.gather(outcome)
    failed = [(None, f"rank {rank}: {text}") for rank, (path, text) in enumerate(outcomes) if path is None]
    return outcomes[0] if outcomes[0][0] is None or not failed else failed[0]


def _pointer_words(runner: Stopped, path: Path) -> str:
    """Say what `last_checkpoint` names where that is another file; nothing where it is this one, as it should."""
    try:
        named = (runner.work_dir / POINTER).read_text(encoding="utf-8").strip().rpartition("/")[2]
    except OSError:
        named = "nothing"
    return "" if named == path.name else f", but {POINTER} names {named}. {resume_advice(runner)}"


def resume_advice(runner: Stopped) -> str:
    """Say which file `resume=True` would take now, and how many iterations have to be made again."""
    try:
        found = find_resumable(runner.work_dir)
    except Exception as error:
        return f"Whether there is a checkpoint to resume from cannot be seen: {error}"
    done = runner.finished_iters
    lost = f"; {done} iterations are lost" if done else ""
    if found is None and broken_off(runner.work_dir):
        return f"There is no other checkpoint in {runner.work_dir}, so resume=True refuses to go on{lost}"
    if found is None:
        return f"There is no checkpoint in {runner.work_dir}: a resume starts from the beginning{lost}"
    count = (read_place(found) or {}).get("iter")
    if not isinstance(count, int):
        return f"A resume goes on from {found}"
    again = f"; {done - count} iterations are to be made again" if done > count else ""
    return f"A resume goes on from {found} (iteration {count}{again})"
