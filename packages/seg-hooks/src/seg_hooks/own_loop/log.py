"""RunLog: what TrainState says, in MMEngine's layout: lines of text, JSON records and curves."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
import math
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from seg_hooks.device import peak_memory
from seg_hooks.files import append_line
from seg_hooks.model.finite import first_loss
from seg_hooks.own_loop.record_sink import Feed, RecordSink, earlier_records
from seg_hooks.own_loop.scalars import MeansOverRanks, ScalarStore
from seg_hooks.processes.world import World

__all__ = ["RunLog", "session_folder", "train_record", "train_text", "val_record", "val_text"]

Means = Callable[[dict[str, float]], dict[str, float]]

AVERAGED = re.compile(r".*(loss|time|data_time|grad_norm).*")
WINDOW = 10


class RunLog:
    """The log of one session: a store of scalars, the text made from it, and the records for files and curves.

    Each of several ranks has a text file of its own, and only rank 0 writes the rest and speaks on the terminal.

    Args:
        folder: This session's own folder.
        max_iters: Steps of the whole run.
        curves: A function of one record, which feeds the user's writer; None without one.
        purge: Makes that writer forget what it has from a step on; whether it can.
        world: The ranks; records are means over them.
    """

    def __init__(
        self, folder: Path, max_iters: int, curves: Feed | None, purge: Callable[[int], bool], world: World
    ) -> None:
        self.max_iters, self.world = max_iters, world
        self.hub = ScalarStore()
        self.folder = folder
        self.logger = _make_logger(folder, world.rank)
        records = folder / "vis_data" / "scalars.json" if world.rank == 0 else None
        self.sink = RecordSink(records, curves, self.logger, purge)
        self._means = MeansOverRanks(world)
        self.is_resumed = False
        self._warned = False

    def begin(self, iteration: int) -> None:
        """Move records of steps that a resumed run makes again out of the files of its earlier sessions."""
        if self.is_resumed:
            self.is_resumed = False
            self.sink.resume_from(iteration, earlier_records(self.folder.parent, self.folder))

    def record(self, mode: str, iteration: int) -> tuple[dict[str, Any], str]:
        """Return one record and its line of text; `iteration` counts from 1. Called by every rank, where several are.

        Their values are then averaged, in one collective; those of a validation are equal already.
        """
        if mode == "train":
            record = train_record(self.hub, iteration, self._means)
            if not all(math.isfinite(value) for name, value in record.items() if "loss" in name):
                self.warn_of_losses(iteration)
            return record, train_text(record, self.max_iters, self.hub.get_info("eta"))
        record = val_record(self.hub, mode)
        return record, val_text(record, mode, iteration, self.max_iters)

    def warn_of_losses(self, step: int) -> None:
        """Warn once of the first loss that is not finite; called where values are brought from the device anyway."""
        if self._warned:
            return
        found = [(*one, rank) for rank, one in enumerate(self.world.gather(self._first_loss(step))) if one is not None]
        if not found:
            return
        self._warned = True
        first, seen_all, terms, rank = min(found)
        self.logger.warning(
            "iteration %d%s: %s is not finite%s, for the first time. Training goes on; a checkpoint with weights that "
            "are not finite is marked. NanGuardHook stops at such a step and says which samples were in it.",
            first,
            "" if seen_all else " or before",
            ", ".join(name.removeprefix("train/") for name in terms),
            f" on rank {rank}" if self.world.size > 1 else "",
        )

    def _first_loss(self, step: int) -> tuple[int, bool, list[str]] | None:
        """Return the first step with a loss that is not finite, whether it is known to be that, and the losses."""
        names = [name for name in self.hub.scalars if name.startswith("train/") and "loss" in name]
        losses = self.hub.read(names)
        found = first_loss(losses, step)
        if found is None:
            return None
        first, terms = found
        seen_all = all(len(losses[name]) < self.hub.window or math.isfinite(losses[name][0]) for name in terms)
        return first, seen_all, terms


def train_record(hub: ScalarStore, iteration: int, means: Means = dict) -> dict[str, Any]:
    """Return the values of the training step `iteration` (from 1): means of ten losses and times, else the latest.

    Args:
        hub: The values.
        iteration: The step.
        means: Makes of the values of this rank those of all.
    """
    record: dict[str, Any] = means(_values(hub, "train/"))
    memory = peak_memory()
    if memory is not None:
        record["memory"] = int(memory)
    record["iter"] = iteration
    return record


def val_record(hub: ScalarStore, mode: str) -> dict[str, Any]:
    """Return the metrics of a finished validation or test."""
    return _values(hub, f"{mode}/")


def _values(hub: ScalarStore, prefix: str) -> dict[str, float]:
    names = [name for name in hub.scalars if name.startswith(prefix)]
    values = hub.read(names, last=WINDOW)
    return {
        name.removeprefix(prefix): sum(row) / len(row) if AVERAGED.match(name) else row[-1]
        for name, row in values.items()
    }


def train_text(record: Mapping[str, Any], max_iters: int, eta: float | None) -> str:
    """Return the line of a training record.

    Example:
        >>> train_text({"lr": 0.01, "time": 0.5, "data_time": 0.1, "loss": 1.25, "iter": 50}, 1000, 475)
        'Iter(train) [  50/1000]  lr: 1.0000e-02  eta: 0:07:55  time: 0.5000  data_time: 0.1000  loss: 1.2500'
    """
    count = str(record["iter"]).rjust(len(str(max_iters)))
    rates = " ".join(f"{name}: {value:.4e}" for name, value in record.items() if name.endswith("lr"))
    items = [f"Iter(train) [{count}/{max_iters}]", rates]
    if eta is not None:
        items.append(f"eta: {datetime.timedelta(seconds=int(max(0.0, eta)))}")
    first = [name for name in ("time", "data_time", "memory") if name in record]
    rest = [name for name in record if name not in (*first, "iter") and not name.endswith("lr")]
    return "  ".join([*items, *(_item(name, record[name]) for name in (*first, *rest))])


def val_text(record: Mapping[str, Any], mode: str, done: int, total: int) -> str:
    """Return the line of a finished validation or test.

    Example:
        >>> val_text({"mIoU": 0.5}, "val", 250, 1000)
        'Iter(val) [250/1000]    mIoU: 0.5000'
    """
    return "  ".join([f"Iter({mode}) [{done}/{total}]", "", *(_item(name, value) for name, value in record.items())])


def _item(name: str, value: object) -> str:
    return f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}"


class _Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever standard output is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """The current standard output."""
        return sys.stdout


class _File(logging.Handler):
    """Appends each line to a file that is open only meanwhile; a disk that fails is reported once and tried again."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.failed = path, False
        self.waiting: deque[str] = deque(maxlen=10_000)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, behind those that could not be written before."""
        self.waiting.append(self.format(record))
        try:
            self._write()
            self.failed = False
        except OSError as error:
            if not self.failed:
                self.failed = True
                print(f"the log {self.path} cannot be written: {error}; its lines are kept for later.", file=sys.stderr)

    def close(self) -> None:
        """Write what waits, and say what the file lacks; called when the process ends."""
        super().close()
        with contextlib.suppress(OSError):
            self._write()
        if self.waiting:
            print(f"the last {len(self.waiting)} lines are missing in the log {self.path}.", file=sys.stderr)
            self.waiting.clear()

    def _write(self) -> None:
        while self.waiting:
            append_line(self.path, self.waiting[0])
            self.waiting.popleft()


def _make_logger(folder: Path, rank: int) -> logging.Logger:
    """Make the logger of one run: its lines go to the terminal and into a file; other ranks than 0 only say errors."""
    logger = logging.Logger("seg_hooks", logging.INFO)
    console, file = _Console(), _File(folder / f"{folder.name}{f'_rank{rank}' if rank else ''}.log")
    console.setLevel(logging.ERROR if rank else logging.INFO)
    for handler, clock in ((console, "%m/%d %H:%M:%S"), (file, "%Y/%m/%d %H:%M:%S")):
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s", clock))
        logger.addHandler(handler)
    return logger


def session_folder(work_dir: Path) -> Path:
    """Make a folder for this session's logs, named after the moment."""
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    for name in itertools.chain([stamp], (f"{stamp}_{number}" for number in itertools.count(2))):
        try:
            (work_dir / name).mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            error.add_note(f"TrainState: work_dir={str(work_dir)!r} is not writable; give a folder that is.")
            raise
        return work_dir / name
    raise AssertionError("the names never end")
