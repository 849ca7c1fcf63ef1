"""RecordSink: where TrainState's records go, a JSON file and a TensorBoard or W&B writer by shape."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from seg_hooks.conversions import as_number, to_json
from seg_hooks.files import append_line, write_whole

__all__ = ["RecordSink", "adapt", "earlier_records", "purge"]

Feed = Callable[[dict[str, Any]], object]
PLACE = ("step", "iter", "epoch", "mode")
BY_THE_CLOCK = re.compile(r"(^|[/_])(time|eta|memory|speed|throughput|[a-z_]*per_second[a-z_]*)($|[/_])")
"""Names of what differs between two runs that are equal."""


@runtime_checkable
class _SummaryWriter(Protocol):
    """What TensorBoard's own writer has, and its likes have not."""

    purge_step: int | None
    file_writer: object
    all_writers: object

    def close(self) -> object: ...


class RecordSink:
    """Appends JSON lines and feeds a writer; one that fails is reported once and gets its records later.

    Args:
        path: The file of JSON lines; None on other ranks than 0, where nothing is written.
        writer: A function of one record, or None.
        logger: Gets the reports.
        purge: Makes the writer forget what it has from a step on; whether it can.
    """

    def __init__(
        self,
        path: Path | None,
        writer: Feed | None,
        logger: logging.Logger,
        purge: Callable[[int], bool] = lambda step: False,
    ) -> None:
        self.path = path
        self._purge = purge
        self.writer = None if path is None else writer
        self.logger = logger
        self._waiting: deque[dict[str, Any]] = deque(maxlen=10_000)
        self._failing = False
        self._there: dict[tuple[object, object], str] = {}

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None) -> None:
        """Write one record.

        Raises:
            TypeError, ValueError: A step that is no whole number; nothing is written then.
        """
        if self.path is None:
            return
        record = {**scalar_dict, "step": _whole("step", step)}
        record["iter"] = _whole("iter", scalar_dict.get("iter", step))
        append_line(self.path, json.dumps(to_json(record)))
        known = self._there.pop(_place(record), None)
        if self.writer is not None and (known is None or known != _lasting(record)):
            self._waiting.append(record)
            self._feed(self.writer)

    def resume_from(self, step: int, earlier: Iterable[Path]) -> None:
        """Move records beyond an iteration out of the files of earlier sessions; the writer has none of them twice.

        A SummaryWriter begins another file there, whose first event tells TensorBoard to leave out what comes later in
        the others; another writer is not given again what it has.

        Args:
            step: The iteration of the checkpoint.
            earlier: Files of JSON lines.
        """
        for path in earlier:
            try:
                rows = take_out(path, lambda row: _is_beyond(row, step), path.with_name("superseded.json"))
            except (OSError, ValueError) as error:
                self.logger.warning("%s still contains records after iteration %d: %s", path, step, error)
                continue
            self._there |= {_place(row): _lasting(row) for row in rows}
        if self._purge(step + 1):
            self._there = {}

    def close(self) -> None:
        """Hand over what waits; the writer belongs to its owner and stays open."""
        if self.writer is not None:
            self._feed(self.writer)
        if self._waiting:
            self.logger.warning(
                "The writer still fails: %d records are missing there; the JSON lines have them.", len(self._waiting)
            )

    def _feed(self, writer: Feed) -> None:
        while self._waiting:
            try:
                writer(self._waiting[0])
            except Exception as error:
                if not self._failing:
                    self._failing = True
                    kind = type(error).__name__
                    text = "The writer failed (%s: %s). Training goes on; its records are kept and sent later."
                    self.logger.warning(text, kind, error)
                return
            self._waiting.popleft()
        self._failing = False


def _is_beyond(row: Mapping[str, Any], step: int) -> bool:
    number = as_number(row.get("iter"))
    return number is not None and number > step


def _whole(name: str, value: object) -> int:
    """Return a place on the axis, from any kind of number that is whole."""
    number = as_number(value)
    if number is None:
        raise TypeError(f"add_scalars: {name}={value!r} is a {type(value).__name__}; give a whole number.")
    if not -(2**63) <= number < 2**63 or number != int(number):  # NaN is in no range
        raise ValueError(f"add_scalars: {name}={value!r} is no whole number of at most 64 bits; give one.")
    return int(number)


def earlier_records(work_dir: Path, log_dir: Path) -> list[Path]:
    """List the files of JSON lines of a run's earlier sessions."""
    return [one for one in sorted(work_dir.glob("*/vis_data/scalars.json")) if log_dir not in one.parents]


def take_out(path: Path, repeats: Callable[[dict[str, Any]], bool], aside: Path) -> list[dict[str, Any]]:
    """Move records from one file of JSON lines to another, drop broken lines, and return those that were moved."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [_row(line) for line in lines]
    gone = [number for number, row in enumerate(rows) if row is not None and repeats(row)]
    kept = [line for line, row in zip(lines, rows, strict=True) if row is not None and not repeats(row)]
    if gone:
        append_line(aside, "\n".join(lines[number] for number in gone))
    if len(kept) < len(lines):
        write_whole(path, "".join(f"{line}\n" for line in kept).encode())
    return [row for number in gone if (row := rows[number]) is not None]


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _place(record: Mapping[str, Any]) -> tuple[object, object]:
    return record.get("mode"), record.get("iter")


def _lasting(record: Mapping[str, Any]) -> str:
    """Return a record as text, without what the clock decides."""
    kept = {name: value for name, value in record.items() if not BY_THE_CLOCK.search(name)}
    return json.dumps(to_json(kept), sort_keys=True)


def adapt(writer: object) -> Feed | None:
    """Return a function of one record for a SummaryWriter or a W&B run; train and val share the axis of iterations."""
    if writer is None:
        return None
    add_scalar, log, define_metric = (getattr(writer, name, None) for name in ("add_scalar", "log", "define_metric"))
    if callable(add_scalar):
        return partial(_to_summary, writer, add_scalar)
    if callable(log):
        if callable(define_metric):
            define_metric("iter")
            define_metric("*", step_metric="iter")
        return lambda record: log({**dict(_curves(record)), "iter": record["iter"]})
    raise TypeError(
        f"TrainState: writer={writer!r} has neither add_scalar (a TensorBoard SummaryWriter) nor log (a W&B run)."
    )


def purge(writer: object, step: int) -> bool:
    """Make a writer forget what it has from `step` on, where it can; whether it holds nothing of it.

    A SummaryWriter begins another file that says so. A new W&B run holds nothing, one that goes on has what it got.
    """
    if getattr(writer, "resumed", None) is False:
        return not _may_go_on(writer)
    if not isinstance(writer, _SummaryWriter):
        return False
    try:
        writer.close()  # the next event opens another file, which begins with this step
    except OSError:
        writer.file_writer = writer.all_writers = None
    writer.purge_step = step
    return True


def _may_go_on(writer: object) -> bool:
    """Tell whether a W&B run was begun offline as one that may go on; W&B finds out when it is sent, not before."""
    return bool(getattr(writer, "offline", False) and getattr(getattr(writer, "settings", None), "resume", None))


def _to_summary(writer: object, add_scalar: Callable[[str, float, int], object], record: dict[str, Any]) -> None:
    """Write one record to a SummaryWriter; it is in the file when this returns.

    Its thread ends at the first full disk, so a writer that failed is made to begin another file the next time.

    Raises:
        OSError: It could not be written.
    """
    try:
        for name, value in _curves(record):
            add_scalar(name, value, record["iter"])
        flush = getattr(writer, "flush", None)
        if callable(flush):
            flush()
    except OSError:
        if isinstance(writer, _SummaryWriter):
            writer.file_writer = writer.all_writers = None
        raise


def _curves(record: dict[str, Any]) -> list[tuple[str, float]]:
    """List `<mode>/<name>` and value of everything in a record that is a number."""
    mode = record.get("mode", "train")
    numbers = [(name, as_number(value)) for name, value in record.items() if name not in PLACE]
    return [(f"{mode}/{name}", value) for name, value in numbers if value is not None]
