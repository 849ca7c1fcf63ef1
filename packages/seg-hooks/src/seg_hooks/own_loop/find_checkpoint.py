"""Finding the checkpoint that a run goes on from: whole, finite, and the newest of its kind."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from typing import Any

from seg_hooks.files import interrupted_in, pointed_at
from seg_hooks.model.finite import is_marked
from seg_hooks.read_checkpoint import check_sizes, load_bounded

__all__ = ["MOST_ITERS", "candidates", "newest_whole", "read_whole", "refuse_not_finite"]

MOST_ITERS = 10**12
"""No run has so many iterations; a file that says so is damaged, or made up."""


def read_whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint, checking every byte; ValueError where it is cut short or changed, or is no checkpoint."""
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: a checkpoint that seg-runner wrote in parts; `seg ckpt convert` makes one file of it."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive, path.stat().st_size)
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"the part {broken} is damaged")
        checkpoint = load_bounded(path)
    except Exception as error:  # damaged bytes make the unpickler and the zip reader fail in many ways
        raise ValueError(f"{path} is not a whole checkpoint: {error}") from error
    if not isinstance(checkpoint, dict) or not {"meta", "state_dict", "message_hub"} <= set(checkpoint):
        raise ValueError(f"{path} has no meta, state_dict and message_hub; it is not a checkpoint to resume from.")
    finished = checkpoint["meta"].get("iter") if isinstance(checkpoint["meta"], dict) else None
    if type(finished) is not int or not 0 <= finished <= MOST_ITERS:
        raise ValueError(
            f"{path} does not say after how many iterations it was saved (meta.iter: {finished!r:.40}); it cannot be "
            "resumed from."
        )
    return checkpoint


def newest_whole(work_dir: Path, logger: logging.Logger, most: int | None = None) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest checkpoint that is whole; one that is not is reported and the next older one is taken.

    What an exception left (`interrupted_iter_N.pth`) is taken only where there is no other. One whose weights are not
    finite is taken only where there is not even that, neither a best one to go on from.

    Args:
        work_dir: Where to look.
        logger: Gets the reports.
        most: Take none of more iterations.
    """
    not_finite = None
    for path in candidates(work_dir):
        try:
            checkpoint = read_whole(path)
        except ValueError as error:
            logger.warning("%s The next older one is tried.", error)
            continue
        if most is not None and checkpoint["meta"]["iter"] > most:
            continue
        if not is_marked(checkpoint):
            return path, checkpoint
        logger.warning("%s contains weights that are not finite. Another one is tried.", path)
        not_finite = not_finite or path
    if not_finite is None:
        return _newest_interrupted(work_dir, most)
    better = _newest_best(not_finite.parent, most) or _newest_interrupted(work_dir, most)
    return better or (not_finite, read_whole(not_finite))


def _newest_interrupted(folder: Path, most: int | None) -> tuple[Path, dict[str, Any]] | None:
    """Read what an exception left after the most iterations, whole and finite."""
    for path in reversed(interrupted_in(folder, MOST_ITERS)):
        try:
            checkpoint = read_whole(path)
        except ValueError:
            continue
        if (most is None or checkpoint["meta"]["iter"] <= most) and not is_marked(checkpoint):
            return path, checkpoint
    return None


def refuse_not_finite(work_dir: Path) -> None:
    """Refuse to start from the beginning where that would lose something which a resume does not take by itself.

    Raises:
        FileExistsError: an exception left a whole file there, and its weights are not finite.
    """
    for path in reversed(interrupted_in(work_dir, MOST_ITERS)):
        try:
            read_whole(path)
        except ValueError:
            continue
        raise FileExistsError(
            f"TrainState: {path.name} is all that an earlier run has left in {work_dir}, but its weights are not "
            f"finite. To go on from it anyway: resume({str(path)!r}); to start from the beginning: leave out "
            "resume() and give overwrite=True, or another work_dir."
        )


def _newest_best(folder: Path, most: int | None) -> tuple[Path, dict[str, Any]] | None:
    """Read the best checkpoint of the most iterations that is whole, finite, and holds an optimizer to go on with."""
    for path in sorted(folder.glob("best_*.pth"), key=_count, reverse=True):
        try:
            checkpoint = read_whole(path)
        except ValueError:
            continue
        late = most is not None and checkpoint["meta"]["iter"] > most
        if not late and "optimizer" in checkpoint and not is_marked(checkpoint):
            return path, checkpoint
    return None


def candidates(work_dir: Path) -> list[Path]:
    """List the files that a resume tries, newest first: newer ones than the pointed one, that one, the others."""
    pointed = _pointed(work_dir)
    folder = work_dir if pointed is None else pointed.parent
    files = sorted((path for path in folder.glob("*.pth") if _is_regular(path)), key=_count, reverse=True)
    if pointed is None:
        return files
    moment = pointed.stat().st_mtime
    newer = [path for path in files if _count(path) > _count(pointed) and path.stat().st_mtime >= moment]
    return list(dict.fromkeys([*newer, pointed, *(path for path in files if _count(path) < _count(pointed))]))


def _pointed(work_dir: Path) -> Path | None:
    """Return the file that `last_checkpoint` names; None where it names none, whatever it holds."""
    try:
        path = pointed_at(work_dir / "last_checkpoint")
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _is_regular(path: Path) -> bool:
    name = path.name
    return not name.startswith(("best_", "interrupted", ".")) and not re.search(r"-[0-9a-f]{8}\.pth$", name)


def _count(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1
