"""Checkpoints of an earlier run in the folder of a new one: gone on from or removed, as the caller says, else refused.

Logs of earlier runs lie in folders of their own and are in nobody's way; what an exception left counts like other
checkpoints, as it may be all that there is of a run; validation and test write no checkpoint.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Protocol

from seg_runner.assembly.arguments import Arguments
from seg_runner.checkpoint.find import POINTER, find_resumable, pointed_by
from seg_runner.checkpoint.read import read_place
from seg_runner.checkpoint.several.layout import is_checkpoint
from seg_runner.errors import CheckpointError
from seg_runner.files import remove

__all__ = ["REPLAY", "UsesFolder", "check_folder", "clear_folder", "earlier_checkpoints"]

REPLAY = "SEG_NAN_REPLAY"
"""Set where NanGuardHook shows one step of the run in this folder again: it mixes nothing and ends there."""
OURS = re.compile(r"(?:(?:iter|epoch|interrupted_iter)_\d+|best_.+)\.pth")
PUBLISHED = re.compile(r".*-[0-9a-f]{8}\.pth")


def earlier_checkpoints(work_dir: Path) -> list[Path]:
    """List what runs have left by the names that they use: the usual ones, or those like that in `last_checkpoint`."""
    pointed = pointed_by(work_dir)
    known, found = [OURS], set[Path]()
    if pointed is not None:
        found.add(pointed)
        known.append(re.compile(re.sub(r"\d+", r"\\d+", re.escape(pointed.name))))
    files = [path for path in work_dir.glob("*.pth") if any(name.fullmatch(path.name) for name in known)]
    return sorted({*found, *(path for path in files if not PUBLISHED.fullmatch(path.name))})


class UsesFolder(Protocol):
    """A run that is about to train in its folder."""

    @property
    def arguments(self) -> Arguments:
        """The arguments."""

    @property
    def work_dir(self) -> Path:
        """Folder of the run."""

    @property
    def resumed(self) -> bool:
        """Whether it has gone on from a checkpoint."""

    @property
    def underway(self) -> bool:
        """Whether it has left its record in the folder."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


def check_folder(runner: UsesFolder) -> None:
    """Refuse, before a run builds anything, to train in the folder of another one.

    Raises:
        FileExistsError: checkpoints of another run lie there, and nobody said what is to become of them.
    """
    resume, found = runner.arguments["resume"], earlier_checkpoints(runner.work_dir)
    if runner.resumed or not found or REPLAY in os.environ:
        return
    names = ", ".join(path.name for path in found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
    if runner.arguments["overwrite"]:
        given = runner.arguments["load_from"]
        if given is not None and Path(given).expanduser().resolve() in [path.resolve() for path in found]:
            raise FileExistsError(
                f"overwrite=True would delete {given}, from which this run starts: give another work_dir, or move it"
            )
        return
    chosen = resume if isinstance(resume, str | Path) else runner.arguments["load_from"]
    if resume and (chosen is None or _is_of_this_folder(chosen, runner.work_dir, found)):
        return
    what = f"{chosen} is of another run than" if resume else "an earlier run has left"
    remote = getattr(runner, "remote", None)
    place = runner.work_dir if remote is None else remote.store.name
    newest = _newest(runner.work_dir) if remote is None else ""  # it would be fetched
    raise FileExistsError(
        f"{what} the checkpoints in {place} ({names}), and two runs in one folder would mix. Go on from the newest "
        f"with resume=True (--resume){newest}, delete them with overwrite=True (--overwrite), "
        "or give another folder: work_dir=... (--work-dir)"
    )


def _newest(work_dir: Path) -> str:
    try:
        found = find_resumable(work_dir)
    except OSError:
        return ""
    return "" if found is None else f", which takes {found.name}"


def _is_of_this_folder(chosen: str | Path, work_dir: Path, found: list[Path]) -> bool:
    """Tell whether a file that a run goes on from lies in its folder, or is of the run that lies there."""
    path = Path(chosen).expanduser()
    if path.resolve().is_relative_to(work_dir) or not is_checkpoint(path):
        return True
    run = _run_of(path)
    return run is not None and run in map(_run_of, found)


def _run_of(path: Path) -> object:
    try:
        return (read_place(path) or {}).get("run_id")
    except (OSError, CheckpointError):
        return None


def clear_folder(runner: UsesFolder) -> None:
    """Delete, with `overwrite`, checkpoints of earlier runs right before the first step: no resume takes them then."""
    found = earlier_checkpoints(runner.work_dir) if runner.arguments["overwrite"] else []
    if not found:
        return
    (runner.work_dir / POINTER).unlink(missing_ok=True)
    for path in found:
        remove(path)
    names = ", ".join(path.name for path in found)
    runner.logger.warning("overwrite=True: deleted %d checkpoints of an earlier run: %s", len(found), names)
