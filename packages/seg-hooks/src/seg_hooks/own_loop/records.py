"""Records and lines of text for TrainState, in MMEngine's layout: pure functions over stored scalars."""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_hooks.device import peak_memory
from seg_hooks.files import append_line
from seg_hooks.own_loop.scalars import ScalarStore

__all__ = ["make_logger", "train_record", "train_text", "val_record", "val_text"]

AVERAGED = re.compile(r".*(loss|time|data_time|grad_norm).*")
WINDOW = 10


def train_record(store: ScalarStore, iteration: int) -> dict[str, Any]:
    """Values of the training step `iteration` (from 1): means of ten losses and times, else the latest."""
    record = _values(store, "train/")
    memory = peak_memory()
    if memory is not None:
        record["memory"] = int(memory)
    record["iter"] = iteration
    return record


def val_record(store: ScalarStore, mode: str) -> dict[str, Any]:
    """The metrics of a finished validation or test."""
    return _values(store, f"{mode}/")


def _values(store: ScalarStore, prefix: str) -> dict[str, Any]:
    names = [name for name in store.scalars if name.startswith(prefix)]
    values = store.read(names, last=WINDOW)
    return {
        name.removeprefix(prefix): sum(row) / len(row) if AVERAGED.match(name) else row[-1]
        for name, row in values.items()
    }


def train_text(record: Mapping[str, Any], max_iters: int, eta: float | None) -> str:
    """The line of a training record.

    Example:
        >>> train_text({"lr": 0.01, "time": 0.5, "data_time": 0.1, "loss": 1.25, "iter": 50}, 1000, 475)
        'Iter(train) [  50/1000]  lr: 1.0000e-02  eta: 0:07:55  time: 0.5000  data_time: 0.1000  loss: 1.2500'
    """
    count = str(record["iter"]).rjust(len(str(max_iters)))
    rates = " ".join(f"{name}: {value:.4e}" for name, value in record.items() if name.endswith("lr"))
    parts = [f"Iter(train) [{count}/{max_iters}]", rates]
    if eta is not None:
        parts.append(f"eta: {datetime.timedelta(seconds=int(max(0.0, eta)))}")
    first = [name for name in ("time", "data_time", "memory") if name in record]
    rest = [name for name in record if name not in (*first, "iter") and not name.endswith("lr")]
    return "  ".join([*parts, *(_part(name, record[name]) for name in (*first, *rest))])


def val_text(record: Mapping[str, Any], mode: str, done: int, total: int) -> str:
    """The line of a finished validation or test.

    Example:
        >>> val_text({"mIoU": 0.5}, "val", 250, 1000)
        'Iter(val) [250/1000]    mIoU: 0.5000'
    """
    return "  ".join([f"Iter({mode}) [{done}/{total}]", "", *(_part(name, value) for name, value in record.items())])


def _part(name: str, value: Any) -> str:
    return f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}"


class _Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever standard output is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """The present standard output."""
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
                print(f"the log {self.path} cannot be written: {error}; its lines wait.", file=sys.stderr)

    def close(self) -> None:
        """Write what waits, and say what the file lacks; called when the process ends."""
        super().close()
        with contextlib.suppress(OSError):
            self._write()
        if self.waiting:
            print(f"the log {self.path} lacks its last {len(self.waiting)} lines.", file=sys.stderr)
            self.waiting.clear()

    def _write(self) -> None:
        while self.waiting:
            append_line(self.path, self.waiting[0])
            self.waiting.popleft()


def make_logger(file: Path | None, rank: int = 0) -> logging.Logger:
    """A logger of one run: lines on the terminal and, where a file is given, in it; other ranks only say errors."""
    logger = logging.Logger("seg_hooks", logging.INFO if rank == 0 else logging.ERROR)
    layout = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
    console = _Console()
    console.setFormatter(logging.Formatter(layout, "%m/%d %H:%M:%S"))
    logger.addHandler(console)
    if file is not None and rank == 0:
        lines = _File(file)
        lines.setFormatter(logging.Formatter(layout, "%Y/%m/%d %H:%M:%S"))
        logger.addHandler(lines)
    return logger
