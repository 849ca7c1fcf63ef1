"""How a run ends before its time: by a signal or an exception; what is saved then, and what is said about it.

The last line says only what was looked at after the write: that the file is there, whole, under this name; or else
what is lost, and which file a resume goes on from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from seg_runner.checkpoint.find import POINTER, broken_off, find_resumable
from seg_runner.checkpoint.read import read_place, verify_checkpoint
from seg_runner.errors import add_note
from seg_runner.process.signals import StopNow, leaving

__all__ = ["break_off", "keep_interrupted", "last_words", "leave_finished", "stop_for_signal", "tell_lost"]


def stop_for_signal(runner: Any, name: str) -> None:
    """Between two steps: save once, and leave with the code that shells use for this signal.

    Raises:
        SystemExit: always, but for an interrupt in a notebook or at a prompt: KeyboardInterrupt.
    """
    if not _made_steps(runner):
        told = "stopped before its first step: there was nothing to save"
        runner.logger.warning("%s: %s. %s", name, told, resume_words(runner))
        raise leaving(name)
    done = runner.finished_iters
    path, trouble = _attempt(runner, runner.checkpoints.save_last)
    if path is None:
        told = f"stopped after iteration {done}, and its state is not saved: {trouble}. {resume_words(runner)}"
    else:
        told = f"saved {path.name} after iteration {done} and stopped{_pointer_words(runner, path)}"
    runner.logger.warning("%s: %s", name, told)
    raise leaving(name)


def tell_lost(runner: Any) -> None:
    """Say at the end of training what a resume lacks, since the disk did not take it; `runner.lost` holds the words."""
    runner.lost = ""
    failure, done = runner.saver.failure, runner.finished_iters
    if failure is None or runner.rank != 0:
        return
    found = find_resumable(runner.work_dir)
    count = None if found is None else (read_place(found) or {}).get("iter")
    if not isinstance(count, int) or count < done:
        cause = failure.strerror or failure
        runner.lost = f"training is finished, and its last state is not saved: {cause}. {resume_words(runner)}"
        runner.logger.error("%s", runner.lost)


def leave_finished(runner: Any, name: str) -> None:
    """A signal came when the last step was done: nothing is to be saved, and what comes after the run is left out.

    Raises:
        SystemExit: always, but for an interrupt in a notebook or at a prompt: KeyboardInterrupt.
    """
    runner.logger.warning("%s: training was finished, with %d iterations; leaving", name, runner.finished_iters)
    raise leaving(name)


def last_words(runner: Any, text: str) -> None:
    """The log of a process that is left at once: why, and then, if there is time, which file a resume goes on from."""
    runner.logger.warning("%s", text)
    runner.logger.warning("%s", resume_words(runner))


def break_off(runner: Any, name: str, stop: StopNow) -> None:
    """The time that a signal leaves is over, and the run hung in a hook, a metric, or the user's code.

    Between two steps the state is kept, as after an exception. In the middle of one nobody knows what of the update is
    done, so nothing is written.

    Raises:
        SystemExit: always, but for an interrupt in a notebook or at a prompt: KeyboardInterrupt.
    """
    done = runner.finished_iters
    told = f"broken off after iteration {done}, since the run did not come to an end in time"
    if not stop.between_steps or not _made_steps(runner):
        runner.logger.warning("%s: %s; nothing was saved. %s", name, told, resume_words(runner))
        raise leaving(name)
    path, trouble = _attempt(runner, runner.checkpoints.save_interrupted)
    kept = f"not saved: {trouble}. {resume_words(runner)}" if path is None else f"in {path} ({_again(runner, path)})"
    runner.logger.warning("%s: %s; the state is %s", name, told, kept)
    raise leaving(name)


def keep_interrupted(runner: Any, mode: str, error: Exception) -> None:
    """After an exception in training: save what is there as `interrupted_iter_N.pth`, the last choice of a resume.

    Nothing where no step was made since training began: a resume that was refused leaves no file to get round it.
    """
    if mode != "train" or not _made_steps(runner):
        return
    path, trouble = _attempt(runner, runner.checkpoints.save_interrupted)
    if path is None:
        add_note(error, f"the state could not be saved: {trouble}. {resume_words(runner)}")
    else:
        add_note(error, f"the state is in {path} ({_again(runner, path)})")


def _made_steps(runner: Any) -> bool:
    return runner.began_at is not None and runner.finished_iters > runner.began_at


def _again(runner: Any, path: Path) -> str:
    if (read_place(path) or {}).get("finite") is False:
        return f"its weights are not finite. {resume_words(runner)}"
    return f"resume={str(path)!r} goes on from there"


def _attempt(runner: Any, save: Callable[[], Path]) -> tuple[Path | None, str]:
    """Save; the file, once it was read back whole, or None and what came in the way."""
    saver = runner.saver
    saver.ending = True
    try:
        path = save()
        saver.wait()
        if saver.wrote != path:
            return None, saver.failure.strerror if saver.failure is not None else f"{path} was not written"
        verify_checkpoint(path)
    except Exception as error:  # whatever a hook or a disk does: the run ends all the same
        return None, f"{type(error).__name__}: {error}"
    finally:
        saver.ending = False
    return path, ""


def _pointer_words(runner: Any, path: Path) -> str:
    """Nothing where `last_checkpoint` names the file, as it should."""
    try:
        named = (runner.work_dir / POINTER).read_text(encoding="utf-8").strip()
    except OSError:
        named = "nothing"
    return "" if named == path.name else f", but {POINTER} names {named}. {resume_words(runner)}"


def resume_words(runner: Any) -> str:
    """Which file `resume=True` would take now, and how many iterations have to be made again."""
    try:
        found = find_resumable(runner.work_dir)
    except Exception as error:
        return f"Whether there is a checkpoint to resume from cannot be seen: {error}"
    done = runner.finished_iters
    lost = f"; {done} iterations are lost" if done else ""
    if found is None and broken_off(runner.work_dir):
        return f"There is no other checkpoint in {runner.work_dir}, so resume=True refuses to go on{lost}"
    if found is None:
        return f"There is no checkpoint in {runner.work_dir}: a resume starts from nothing{lost}"
    count = (read_place(found) or {}).get("iter")
    if not isinstance(count, int):
        return f"A resume goes on from {found}"
    again = f"; {done - count} iterations are to be made again" if done > count else ""
    return f"A resume goes on from {found} (iteration {count}{again})"
