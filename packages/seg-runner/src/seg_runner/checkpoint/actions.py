"""Checkpoints as the runner uses them: write, load weights, resume, save on a signal or after an error."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from seg_runner.checkpoint.file import read_checkpoint, read_place
from seg_runner.checkpoint.find import POINTER, broken_off, find_resumable
from seg_runner.checkpoint.finite import not_finite
from seg_runner.checkpoint.state import gather_state, restore_state
from seg_runner.checkpoint.weights import NothingFitsError, load_weights
from seg_runner.checkpoint.whole_file import clean_leftovers, write_whole
from seg_runner.errors import add_note, did_you_mean
from seg_runner.log.setup import earlier_sessions
from seg_runner.protocols import Resumes

__all__ = [
    "load_for_evaluation",
    "load_or_resume",
    "load_weights_from",
    "options_of",
    "resume",
    "save",
    "save_interrupted",
    "save_last",
]


def save(
    runner: Any, path: Path, *, optimizer: bool, schedulers: bool, on_done: Callable[[], None] | None = None
) -> None:
    """Gather the state, let hooks change it, and hand it to the saver."""
    payload = gather_state(runner, optimizer=optimizer, schedulers=schedulers)
    if runner.rank == 0:
        runner.call_hook("before_save_checkpoint", checkpoint=payload)
        runner.saver.save(path, payload, lambda: _written(runner, path, on_done))


def _written(runner: Any, path: Path, on_done: Callable[[], None] | None) -> None:
    """A file is there: tell hooks, which keep, delete and point, whether its weights are finite."""
    place = read_place(path) or {}
    finite = place.get("finite") is not False
    runner.message_hub.update_info("checkpoint_finite", finite, resumed=False)
    if not finite:
        runner.logger.warning("%s is marked: its weights are not finite, and a resume takes an older one.", path.name)
    elif place.get("optimizer_not_finite"):
        runner.logger.warning(
            "%s: the optimizer's state is not finite (%s): such parameters may learn no more.",
            path.name,
            ", ".join(place["optimizer_not_finite"]),
        )
    if on_done is not None:
        on_done()


def options_of(reference: Mapping[str, Any], optimizer: bool, schedulers: bool) -> tuple[bool, bool]:
    """What goes into the file, when it is said with the reference's names.

    Raises:
        TypeError: a name that is not known.
    """
    known = ("save_optimizer", "save_param_scheduler", "meta", "by_epoch", "backend_args", "file_client_args")
    for name in reference:
        if name not in known:
            choices = ["optimizer", "schedulers", "on_done", *known]
            raise TypeError(f"save_checkpoint takes no argument {name!r}.{did_you_mean(name, choices)}")
    return bool(reference.get(known[0], optimizer)), bool(reference.get(known[1], schedulers))


def save_last(runner: Any) -> Path:
    """Save this moment under the name that its count gives, and point `last_checkpoint` at it once it is whole."""
    name = f"epoch_{runner.finished_epochs}.pth" if _at_epoch_end(runner) else f"iter_{runner.finished_iters}.pth"

    def write(file: IO[bytes]) -> None:
        file.write(name.encode())

    def point() -> None:
        if not runner.message_hub.get_info("checkpoint_finite") and (runner.work_dir / POINTER).exists():
            return  # what it points to is the one to go on from
        write_whole(runner.work_dir / POINTER, write)

    return _save_extra(runner, name, point)


def save_interrupted(runner: Any) -> Path:
    """Save this moment as `interrupted_iter_N.pth`, which a resume takes when asked for, or where nothing else is."""
    return _save_extra(runner, f"interrupted_iter_{runner.finished_iters}.pth")


def _save_extra(runner: Any, name: str, point: Callable[[], None] = lambda: None) -> Path:
    """A checkpoint that no hook asked for; hooks that keep count of files hear of it before, and once it is whole."""
    path: Path = runner.work_dir / name

    def done() -> None:
        point()
        runner.call_hook("after_extra_checkpoint", path=path)

    runner.call_hook("before_extra_checkpoint", path=path)
    save(runner, path, optimizer=True, schedulers=True, on_done=done)
    return path


def _at_epoch_end(runner: Any) -> bool:
    length = getattr(runner.train_loop, "epoch_length", 0)
    return bool(runner.counts_epochs and runner.finished_epochs * length == runner.finished_iters)


def load_weights_from(runner: Any, path: str | Path, *, unsafe: bool = False, **options: Any) -> None:
    """Weights only; hooks see the checkpoint first. `options`: as `seg_runner.load_weights` takes them."""
    path = _found(runner, path)
    checkpoint = read_checkpoint(path, unsafe=unsafe)
    warn_of_weights(runner, path, checkpoint)
    runner.call_hook("after_load_checkpoint", checkpoint=checkpoint)
    try:
        report = load_weights(runner.model, checkpoint, **options)
    except Exception as error:
        add_note(error, f"while loading the weights of {path} (load_options=dict(...) takes key, revise_keys, strict)")
        raise
    runner.logger.info("Weights of %s: %d of the model's %d tensors", path, len(report.loaded), report.wanted)
    runner.loaded = True


def _found(runner: Any, path: str | Path) -> Path:
    """A checkpoint: by its path, or by its bare name in the working folder.

    Raises:
        FileNotFoundError, IsADirectoryError: it is none.
    """
    found = Path(path).expanduser()
    if not found.exists() and found.name == str(path) and (runner.work_dir / found).exists():
        return Path(runner.work_dir / found)
    if found.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder: give one of its files, or work_dir={str(path)!r} and resume=True, which takes "
            "the newest whole one"
        )
    if found.exists():
        return found
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", str(path))
    if scheme is not None:
        raise FileNotFoundError(
            f"{str(path)!r} is an address ({scheme[1]}:), and checkpoints are read from the local disk only: "
            "download the file first, then give its path"
        )
    there = f", nor in {runner.work_dir}" if found.name == str(path) else ""
    raise FileNotFoundError(
        f"there is no checkpoint {str(path)!r} here{there}: look at load_from, resume and the working folder"
        + _checkpoints_in(runner.work_dir)
    )


def _checkpoints_in(folder: Path) -> str:
    """The names of a folder's checkpoints, the newest first, as the end of a message."""
    files = filter(Path.is_file, folder.glob("*.pth"))
    names = [path.name for path in sorted(files, key=os.path.getmtime, reverse=True)]
    return f" (which holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def resume(runner: Any, path: str | Path | None = None) -> None:
    """Go on from a file, or from the newest whole one of `work_dir`; a fresh start where there is none.

    Raises:
        FileExistsError: all that there is was left by an exception, and its weights are not finite.
    """
    found = _found(runner, path) if path is not None else find_resumable(runner.work_dir)
    if found is None:
        _refuse_spoilt(runner.work_dir)
        runner.logger.info("Nothing to resume in %s: a fresh start", runner.work_dir)
        return
    checkpoint = read_checkpoint(found)
    warn_of_weights(runner, found, checkpoint)
    if "meta" in checkpoint and "state_dict" not in checkpoint:
        raise ValueError(f"{found} holds no weights (`state_dict`), so no run can go on from it")
    runner.resuming = True
    try:
        runner.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        report = restore_state(
            runner, checkpoint, strict=runner.parts["strict_resume"], resume_data=runner.parts["resume_data"]
        )
        for line in report.warnings:
            runner.logger.warning("%s", line)
    except Exception as error:
        add_note(error, f"while resuming from {found}")
        raise
    finally:
        runner.resuming = False
    if path is not None:  # chosen by hand: what is written from here on is newer than whatever else is there
        runner.generation = None
        _tell_newer(runner)
    _tell_broken_off(runner, found)
    runner.loaded = runner.resumed = True
    _tell_visualizer(runner, found)
    runner.logger.info("Resumed from %s\n%s", found, report)


def _refuse_spoilt(work_dir: Path) -> None:
    left = broken_off(work_dir)
    if left:
        raise FileExistsError(
            f"{left[-1][0].name} is all that an earlier run has left in {work_dir}, and its weights are not finite, so "
            f"resume=True does not take it. To go on from it all the same: resume={str(left[-1][0])!r} (--resume "
            f"{left[-1][0].name}); to begin anew: overwrite=True (--overwrite) deletes it, or give another work_dir"
        )


def _tell_broken_off(runner: Any, taken: Path) -> None:
    """What an exception left of this run after the file that it goes on from; or that the run goes on from such."""
    if taken.name.startswith("interrupted"):
        runner.logger.warning("%s was written when an error, or a hang, broke the run off: going on there", taken.name)
        return
    for path, iteration, run in broken_off(runner.work_dir):
        if run == runner.run_id and iteration > runner.finished_iters:
            finite = (read_place(path) or {}).get("finite") is not False
            runner.logger.warning(
                "%s, which an error (or a hang) left, is of iteration %d, and this run goes on from iteration %d: "
                "resume=%r (--resume %s) takes it%s",
                path.name,
                iteration,
                runner.finished_iters,
                str(path),
                path.name,
                "" if finite else "; its weights are not finite",
            )


def _tell_newer(runner: Any) -> None:
    """Checkpoints that the run leaves behind by going back: they count until it has saved one itself."""
    newest, done = find_resumable(runner.work_dir), runner.finished_iters
    count = None if newest is None else (read_place(newest) or {}).get("iter")
    if newest is not None and isinstance(count, int) and count > done:
        text = "%s is of iteration %d, this run goes back to %d: until it has saved one, resume=True takes it"
        runner.logger.warning(text, newest.name, count, done)


def _tell_visualizer(runner: Any, checkpoint: Path) -> None:
    """Where the run goes on, so that no row is there twice; sessions of this folder count if the file is theirs."""
    if not isinstance(runner.visualizer, Resumes) or runner.rank != 0:
        return
    place, loop = checkpoint.resolve().parent, runner.train_loop
    theirs = runner.work_dir in (place, *place.parents) or place.name == runner.work_dir.name  # or in an out_dir
    done = runner.finished_iters
    runner.visualizer.resume_from(
        done,
        owes_validation=getattr(loop, "validated", done) != done,
        log_dir=runner.log_dir,
        earlier=earlier_sessions(runner.work_dir, runner.log_dir) if theirs else [],
    )


def warn_of_weights(runner: Any, path: Path, checkpoint: Mapping[str, Any]) -> None:
    """One line where weights are not finite: by the mark of the file, else by looking at them."""
    marked = (read_place(path) or {}).get("finite")
    bad = [] if marked else not_finite(checkpoint)
    if bad:
        runner.logger.warning("%s holds weights that are not finite: %s", path, ", ".join(bad))


def load_or_resume(runner: Any) -> None:
    """As `resume` and `load_from` say; only the first time, so that a later call keeps what was trained since."""
    if runner.loaded:
        return
    if runner.rank == 0 and (left := clean_leftovers(runner.work_dir)):
        runner.logger.info("Removed what a killed save left behind: %s", ", ".join(left))
    wanted, weights = runner.parts["resume"], runner.parts["load_from"]
    if wanted:
        resume(runner, wanted if isinstance(wanted, (str, Path)) else weights)
    elif weights is not None:
        _start_from(runner, weights, runner.parts["load_options"] or {})
    runner.loaded = True


def _start_from(runner: Any, weights: str | Path, options: Mapping[str, Any]) -> None:
    """`load_from`. MMEngine trains on where nothing fits, so without `strict` that is a warning; evaluating refuses."""
    try:
        load_weights_from(runner, weights, **options)
    except NothingFitsError as error:
        if options.get("strict"):
            raise
        told = "\n".join([str(error), *getattr(error, "__notes__", ())])
        runner.logger.warning("Training starts from fresh weights (load_options=dict(strict=True) refuses): %s", told)


def load_for_evaluation(runner: Any) -> None:
    """What validation or test without training needs: the weights of `load_from`, or of the newest checkpoint.

    Metrics of a model whose weights are not all there mean nothing, so unless `strict=False` is given that is an error.

    Raises:
        RuntimeError: weights are missing, or have another shape; the message lists them.
        FileNotFoundError: `resume=True`, and there is no checkpoint.
    """
    if runner.loaded:
        return
    wanted, weights = runner.parts["resume"], runner.parts["load_from"]
    if weights is None and wanted:
        weights = wanted if isinstance(wanted, (str, Path)) else find_resumable(runner.work_dir)
        if weights is None:
            raise FileNotFoundError(f"resume=True, and there is no whole checkpoint in {runner.work_dir} to evaluate")
    given = runner.parts["load_options"] or {}
    if weights is None:
        if runner.cfg is not None:
            runner.logger.warning("no checkpoint is loaded (load_from): this evaluates the model as its class makes it")
        return
    try:
        load_weights_from(runner, weights, **{"complete": "strict" not in given, **given})
    except RuntimeError as error:
        add_note(error, "metrics of such a model mean nothing; to have them all the same: load_options.strict=False")
        raise
