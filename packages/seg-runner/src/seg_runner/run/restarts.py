"""A job that is started again by itself: torchrun's restarts, a Slurm job that is put back into its queue.

Each start leaves in its record which job it belongs to, and which try of it that was. Another try of the same job in
the same folder goes on from what the tries before have saved there; nobody has to say `resume`.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Protocol

from seg_runner.assembly.arguments import Arguments
from seg_runner.checkpoint.find import find_resumable
from seg_runner.distributed.world import World
from seg_runner.log.setup import earlier_sessions
from seg_runner.run.record import RECORD

__all__ = ["TRIES", "go_on", "saved_by_this_job"]

TRIES = "tries"
"""Where a record has the jobs that a start belongs to, and which try of each it is."""
LARGEST = 2**22


class Started(Protocol):
    """A run that is about to train in its folder."""

    @property
    def arguments(self) -> Arguments:
        """The arguments."""

    @property
    def world(self) -> World:
        """The processes of the run."""

    @property
    def work_dir(self) -> Path:
        """Folder of the run."""

    @property
    def log_dir(self) -> Path:
        """Folder of this start's logs."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


def saved_by_this_job(runner: Started) -> str:
    """Return the newest whole checkpoint that an earlier try of the same job has saved in the folder; empty for none.

    What lay there before its first try was told what to do with counts as it did then.
    """
    sessions = earlier_sessions(runner.work_dir, runner.log_dir)
    begun = [session / RECORD for session in sessions if _is_earlier_try(session / RECORD, runner.world)]
    if not begun:
        return ""
    newest = find_resumable(runner.work_dir)
    if newest is None or newest.stat().st_mtime < begun[0].stat().st_mtime:
        runner.logger.info("This job was started again before it had saved anything: it begins again")
        return ""
    return newest.name


def go_on(runner: Started, saved: str) -> None:
    """Have a run go on as with `resume=True`, whatever its first try was told to begin with."""
    runner.logger.info("This job was started again: going on from %s, as with resume=True", saved)
    runner.arguments["resume"] = True
    runner.arguments["load_from"] = None
    runner.arguments["overwrite"] = False


def _is_earlier_try(record: Path, world: World) -> bool:
    tries = _read(record).get(TRIES)
    if not isinstance(tries, dict):
        return False
    return any(job in tries and tries[job] != this for job, this in world.tries.items())


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text(encoding="utf-8")) if record.stat().st_size < LARGEST else None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
