"""Finding the checkpoint to resume from: the newest whole one of the run, whatever pointers or clocks say."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seg_runner.checkpoint.finite import not_finite
from seg_runner.checkpoint.read import read_checkpoint, read_place, verify_checkpoint
from seg_runner.checkpoint.remote import fetch
from seg_runner.checkpoint.several.layout import is_checkpoint, is_set
from seg_runner.checks import count_of
from seg_runner.errors import CheckpointError
from seg_runner.remote.address import as_path, scheme_of
from seg_runner.remote.mirror import Mirror

__all__ = ["POINTER", "broken_off", "find_resumable", "locate", "next_generation", "pointed_by"]

LOG = logging.getLogger("seg_runner")
COUNTS = ("generation", "epoch", "iter")
POINTER = "last_checkpoint"
LONGEST = 4096
"""Characters of a path."""


class _Candidate(NamedTuple):
    path: Path
    run: Any
    generation: int
    epoch: int
    iteration: int
    complete: bool
    finite: bool | None


def find_resumable(work_dir: str | Path, *, interrupted: bool = False) -> Path | None:
    """Return the newest whole checkpoint of the newest run in `work_dir`, or None.

    Newest means most finished iterations. A run that begins in a folder with checkpoints of older runs counts one
    more than they do (`meta.generation`), and so it is told apart from them; among runs that do not count, the one
    that `last_checkpoint` belongs to goes first. Where another engine went on from a file of ours, its own file
    counts no runs: it is the newest if `last_checkpoint` names it and it is further. Clocks and modification times
    are not looked at. Files that are damaged are named in the log and passed over. Best checkpoints come after all
    others, and only with an optimizer in them. What an exception left (`interrupted_iter_N.pth`) is the last choice,
    and only with finite weights. A regular file whose weights are not finite is taken only where nothing else is
    left.

    Args:
        work_dir: The run's folder.
        interrupted: Let checkpoints written when training broke off with an exception count like all others.
    """
    folder = Path(work_dir)
    pointed = pointed_by(folder)
    found = [c for c in map(_candidate, _files(folder, pointed, interrupted)) if c is not None]
    best = [c for c in found if c.path.name.startswith("best_")]
    regular = [c for c in found if c not in best]
    return (
        _first_whole([c for c in regular if c.finite is not False], pointed)
        or _first_whole([c for c in best if c.complete and c.finite is not False], pointed)
        or (None if interrupted else _first_whole([c for c in _broken_off(folder) if c.finite is not False], pointed))
        or _first_whole(regular, pointed, finite=False)
    )


def broken_off(work_dir: str | Path) -> list[tuple[Path, int, Any]]:
    """List what exceptions left in a folder, the newest last: each file with its iteration and the name of its run."""
    found = sorted(_broken_off(Path(work_dir)), key=lambda c: (c.generation, c.iteration))
    return [(c.path, c.iteration, c.run) for c in found]


def _broken_off(folder: Path) -> list[_Candidate]:
    files = (path for path in folder.glob("interrupted*.pth") if is_checkpoint(path))
    return [c for c in map(_candidate, files) if c is not None]


def _first_whole(found: list[_Candidate], pointed: Path | None, *, finite: bool = True) -> Path | None:
    """Return the newest whole one, with finite weights unless nothing better is left."""
    found = list(found)
    while found:  # what a damaged file says of itself, too, may be wrong: choose anew without it
        chosen = _newest(found, pointed)
        try:
            verify_checkpoint(chosen.path)
            if not finite or chosen.finite or _is_finite(chosen.path):
                return chosen.path
        except CheckpointError as error:
            LOG.warning("%s; looking for another one", error)
        found.remove(chosen)
    return None


def _is_finite(path: Path) -> bool:
    """Tell of a file without a mark whether its weights are finite."""
    bad = not_finite(read_checkpoint(path, verify=False))
    if bad:
        LOG.warning("%s contains weights that are not finite (%s, ...); looking for another one", path, bad[0])
    return not bad


def _newest(found: list[_Candidate], pointed: Path | None) -> _Candidate:
    newest, every = max(c.generation for c in found), found
    found = [c for c in found if c.generation == newest]
    run = next((c.run for c in found if c.path == pointed), None)
    mine = [c for c in found if c.run == run] or found
    chosen = max(mine, key=_how_far)
    foreign = [c for c in every if c.path == pointed and c.run is None and c.complete]
    return max([chosen, *foreign], key=_how_far)


def _how_far(candidate: _Candidate) -> tuple[bool, int, int]:
    return candidate.complete, candidate.iteration, candidate.epoch


def next_generation(work_dir: str | Path) -> int:
    """Return the count of a run that begins in this folder: one more than the runs that left checkpoints there."""
    folder = Path(work_dir)
    found = map(_candidate, _files(folder, pointed_by(folder), interrupted=True))
    return 1 + max((c.generation for c in found if c is not None), default=0)


def pointed_by(folder: Path) -> Path | None:
    """Return where `last_checkpoint` points: a relative name, or an absolute path.

    The folder may have been moved or copied, so what the end of an absolute path names in it goes first.
    """
    pointer = folder / POINTER
    try:
        if not pointer.is_file():  # a pipe would be waited for
            return None
        with pointer.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1).strip()
        for path in _meant_by(text, folder) if text and len(text) <= LONGEST else ():
            if is_checkpoint(path):
                return path
    except (OSError, ValueError):  # no text, or no name that a file can have
        text = "something that is not a file name"
    LOG.warning("%s points to %s, which is not there", pointer, ascii(text[:200])[1:-1] or "nothing")
    return None


def _meant_by(text: str, folder: Path) -> Iterator[Path]:
    parts, absolute = Path(text.replace("\\", "/")).parts, Path(text).is_absolute()
    yield from () if absolute else (folder / text,)
    yield from (folder.joinpath(*parts[-count:]) for count in range(1, len(parts)))
    yield from (Path(text),) if absolute else ()


def _files(folder: Path, pointed: Path | None, interrupted: bool) -> list[Path]:
    files = [path for path in folder.glob("*.pth") if is_checkpoint(path)]
    if not interrupted:
        files = [path for path in files if not path.name.startswith("interrupted")]
    if pointed is not None and pointed not in files:
        files.append(pointed)
    return files


def _candidate(path: Path) -> _Candidate | None:
    place = read_place(path)
    try:
        place = _place_inside(path) if place is None else place
    except CheckpointError as error:
        LOG.warning("%s; looking for another one", error)
        return None
    if place is None:
        return None
    counts = [count_of(place.get(key, 0)) for key in COUNTS]
    if None in counts:
        said = ", ".join(f"{key}={place.get(key)!r:.40}" for key in COUNTS)
        LOG.warning("%s says %s, which no run can have; looking for another one", path, said)
        return None
    generation, epoch, iteration = (count or 0 for count in counts)
    complete, finite = bool(place.get("complete")), place.get("finite")
    return _Candidate(path, place.get("run_id"), generation, epoch, iteration, complete, finite)


def _place_inside(path: Path) -> dict[str, Any] | None:
    """Look into a file that does not say it at its end: one of MMEngine's, of seg-hooks', or a damaged one."""
    verify_checkpoint(path, pickle_only=True)
    content = read_checkpoint(path, verify=False)
    meta = content.get("meta")
    if not isinstance(meta, dict):
        return None
    finite = None if "not_finite" not in meta else not meta["not_finite"]
    return {**meta, "complete": "optimizer" in content, "finite": finite}


def locate(
    path: str | Path, work_dir: Path, remote: Mirror | None = None, options: Mapping[str, Any] | None = None
) -> Path:
    """Return the file that a user means: a path, an address, or a bare name in the working folder.

    Args:
        path: What the user wrote.
        work_dir: The working folder.
        remote: What keeps it in line with an address, if something does: a file at that address is the one here.
        options: The argument `remote` of the runner, for files at other addresses.

    Raises:
        FileNotFoundError, IsADirectoryError: there is none.
    """
    if scheme_of(as_path(path)):
        here = remote.here(as_path(path)) if remote is not None else None
        path = here or fetch(as_path(path), options)
    found = Path(path).expanduser()
    if not found.exists() and found.name == str(path) and (work_dir / found).exists():
        return work_dir / found
    if found.is_dir() and not is_set(found):
        raise IsADirectoryError(
            f"{str(path)!r} is a folder: give one of its files, or work_dir={str(path)!r} and resume=True, which takes "
            "the newest whole one"
        )
    if found.exists():
        return found
    there = f", nor in {work_dir}" if found.name == str(path) else ""
    raise FileNotFoundError(
        f"there is no checkpoint {str(path)!r} here{there}: check load_from, resume and the current folder"
        + _checkpoints_in(work_dir)
    )


def _checkpoints_in(folder: Path) -> str:
    """Return the names of a folder's checkpoints, the newest first, as the end of a message."""
    files = filter(is_checkpoint, folder.glob("*.pth"))
    names = [path.name for path in sorted(files, key=os.path.getmtime, reverse=True)]
    return f" (which holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
