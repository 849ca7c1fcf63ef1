"""Files that TrainState saves, and words about them that are true of what is there."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from seg_hooks.files import interrupted_at, write_whole
from seg_hooks.model import finite
from seg_hooks.own_loop import snapshots
from seg_hooks.processes import rank

__all__ = ["Saver", "extra_done", "is_extra", "tell_hooks"]

COUNTED = re.compile(r"(?:iter|epoch|interrupted_iter)_\d+\.pth")
QUIET = logging.Logger("seg_hooks.quiet", logging.CRITICAL + 1)


class Saver:
    """Writes checkpoints; says what is there and, where one is not, what was lost and from where a resume goes on."""

    def __init__(self, work_dir: Path, logger: logging.Logger) -> None:
        self.work_dir, self.logger = work_dir, logger
        self._known: dict[Path, tuple[tuple[int, int], int, bool]] = {}

    def write(self, path: Path, checkpoint: dict[str, Any], on_done: Callable[[], None] | None) -> None:
        """Write a file and look at it; then `on_done`, which points to it and deletes old ones."""
        done, bad = int(checkpoint["meta"]["iter"]), checkpoint["meta"]["not_finite"]
        try:
            if rank() == 0:
                self._write(path, checkpoint)
        except OSError as error:
            self.logger.error("%s could not be written (%s). %s.", path, error, self.resume_words(done))
            return
        try:
            if on_done is not None:
                on_done()
        except OSError as error:  # it may meet the same full disk
            text = "%s is written; then pointing to it, or deleting older files, failed (%s). %s."
            self.logger.error(text, path, error, self.resume_words(done))
        if bad and path.exists():
            text = "%s is marked: its weights are not finite (%s). %s."
            self.logger.warning(text, path.name, ", ".join(bad[:3]), self.resume_words(done))
        elif (kept := checkpoint["meta"].get("optimizer_not_finite")) and path.exists():
            text = "%s: the optimizer's state is not finite (%s): such parameters may learn no more."
            self.logger.warning(text, path.name, ", ".join(kept[:3]))

    def _write(self, path: Path, checkpoint: dict[str, Any]) -> None:
        write_whole(path, lambda file: torch.save(checkpoint, file))
        self._known[path.resolve()] = (_stamp(path), checkpoint["meta"]["iter"], bool(checkpoint["meta"]["not_finite"]))

    def resume_words(self, done: int) -> str:
        """Which file `resume()` would take now, and how many iterations would have to be made again."""
        try:
            found = self._newest()
        except Exception as error:  # whatever is wrong with the folder, these are only words
            return f"Whether there is a checkpoint to resume from cannot be seen: {error}"
        if found is None:
            lost = f"; {done} iterations are lost then" if done else ""
            return f"There is no checkpoint to resume from in {self.work_dir}: a run would begin anew{lost}"
        path, count, bad = found
        again = f"; {done - count} iterations are to be made again" if done > count else ""
        alone = "; its weights are not finite, and there is no other" if bad else ""
        return f"A resume goes on from {path} (iteration {count}{again}{alone})"

    def _newest(self) -> tuple[Path, int, bool] | None:
        """What `snapshots.newest_whole` takes; files of this session are known and not read again."""
        for path in snapshots.candidates(self.work_dir):
            stamp, count, bad = self._known.get(path.resolve(), ((0, 0), 0, True))
            if stamp != _stamp(path):
                break
            if not bad:
                return path, count, False
        found = snapshots.newest_whole(self.work_dir, QUIET)
        if found is None:
            return None
        path, checkpoint = found
        entry = (_stamp(path), int(checkpoint["meta"]["iter"]), finite.is_marked(checkpoint))
        self._known[path.resolve()] = entry
        return path, *entry[1:]


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file that is there."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def is_extra(path: Path, work_dir: Path) -> bool:
    """Whether a file that no hook asked for counts like a regular one: by its name, in the folder of the run."""
    return bool(COUNTED.fullmatch(path.name)) and path.parent.resolve() == work_dir.resolve()


def tell_hooks(hooks: Iterable[Any], point: str, state: Any, path: Path) -> None:
    """Tell hooks that keep count of files of one that they did not ask for."""
    for hook in hooks:
        method = getattr(hook, point, None)
        if callable(method):
            method(state, path)


def extra_done(state: Any, path: Path) -> None:
    """A file that no hook asked for is whole: point to it, unless its weights are spoilt, and count it."""
    good = state.message_hub.get_info("checkpoint_finite") is not False
    if rank() == 0 and good and not interrupted_at(path):
        write_whole(state.work_dir / "last_checkpoint", path.name.encode())
    tell_hooks(state.hooks, "after_extra_checkpoint", state, path)
