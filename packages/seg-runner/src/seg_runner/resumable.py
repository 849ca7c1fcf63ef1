"""Finding the checkpoint to resume from: the newest whole one of the run, whatever pointers or clocks say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from seg_runner.checkpoint import CheckpointError, read_checkpoint, verify_checkpoint

__all__ = ["find_resumable"]

LOG = logging.getLogger("seg_runner")
POINTER = "last_checkpoint"


class _Candidate(NamedTuple):
    path: Path
    run: Any
    epoch: int
    iteration: int
    complete: bool


def find_resumable(work_dir: str | Path, *, interrupted: bool = False) -> Path | None:
    """The newest whole checkpoint of the run in `work_dir`, or None.

    Newest means most finished iterations among the files of the run that `last_checkpoint` belongs to; modification
    times are not trusted. Files that are damaged are named in the log and passed over. Best checkpoints without an
    optimizer are not resumed from, nor are `interrupted` files unless asked for.

    Args:
        work_dir: The run's folder.
        interrupted: Also consider checkpoints written when training broke off with an exception.
    """
    folder = Path(work_dir)
    pointed = _pointed(folder)
    found = [c for c in map(_candidate, _files(folder, pointed, interrupted)) if c is not None]
    if not found:
        return None
    run = next((c.run for c in found if c.path == pointed), None)
    if pointed is None or all(c.path != pointed for c in found):
        run = max(found, key=lambda c: (c.path.stat().st_mtime, c.iteration)).run
    return _first_whole([c for c in found if c.run == run])


def _pointed(folder: Path) -> Path | None:
    """Where `last_checkpoint` points: a relative name, or an absolute path whose folder may have been moved."""
    try:
        text = (folder / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    for path in (folder / text, folder / Path(text.replace("\\", "/")).name):
        if text and path.is_file():
            return path
    LOG.warning("%s points to %s, which is not there", folder / POINTER, text or "nothing")
    return None


def _files(folder: Path, pointed: Path | None, interrupted: bool) -> list[Path]:
    skipped = ("best_",) if interrupted else ("best_", "interrupted")
    files = [path for path in folder.glob("*.pth") if path.is_file() and not path.name.startswith(skipped)]
    if pointed is not None and pointed not in files:
        files.append(pointed)
    return files


def _candidate(path: Path) -> _Candidate | None:
    try:
        content = read_checkpoint(path, verify=False)
    except CheckpointError as error:
        LOG.warning("%s; looking for another one", error)
        return None
    meta = content.get("meta")
    if not isinstance(meta, dict):
        return None
    numbers = [meta.get(key) for key in ("epoch", "iter")]
    epoch, iteration = (number if isinstance(number, int) else 0 for number in numbers)
    return _Candidate(path, meta.get("run_id"), epoch, iteration, "optimizer" in content)


def _first_whole(found: list[_Candidate]) -> Path | None:
    for candidate in sorted(found, key=lambda c: (c.complete, c.iteration, c.epoch), reverse=True):
        try:
            verify_checkpoint(candidate.path)
        except CheckpointError as error:
            LOG.warning("%s; looking for another one", error)
        else:
            return candidate.path
    return None
