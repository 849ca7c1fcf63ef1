"""RecordSink: where TrainState's records go, a JSON file and a TensorBoard or W&B writer by shape."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seg_hooks.files import append_line
from seg_hooks.scalars import plain

__all__ = ["RecordSink", "adapt"]

Feed = Callable[[dict[str, Any]], object]
PLACE = ("step", "iter", "epoch", "mode")


class RecordSink:
    """Appends JSON lines and feeds a writer; a writer that fails is reported once and gets its records later.

    Args:
        path: The file of JSON lines; None where another process writes them.
        writer: A function of one record, or None.
        logger: Gets the reports.
    """

    def __init__(self, path: Path | None, writer: Feed | None, logger: logging.Logger) -> None:
        self.path = path
        self.writer = writer
        self.logger = logger
        self.dataset_meta: Any = None
        self._waiting: deque[dict[str, Any]] = deque(maxlen=10_000)
        self._failing = False

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None) -> None:
        """Write one record."""
        record = {**scalar_dict, "step": step}
        if self.path is not None:
            append_line(self.path, json.dumps(plain(record)))
        if self.writer is not None:
            self._waiting.append(record)
            self._feed(self.writer)

    def close(self) -> None:
        """Hand over what waits; the writer belongs to its owner and stays open."""
        if self.writer is not None:
            self._feed(self.writer)
        if self._waiting:
            self.logger.warning(
                "The writer still fails: it lacks %d records, which the JSON lines hold.", len(self._waiting)
            )

    def _feed(self, writer: Feed) -> None:
        while self._waiting:
            try:
                writer(self._waiting[0])
            except Exception as error:
                if not self._failing:
                    self._failing = True
                    kind = type(error).__name__
                    self.logger.warning("The writer failed (%s: %s); its records wait, training goes on.", kind, error)
                return
            self._waiting.popleft()
        self._failing = False


def adapt(writer: Any) -> Feed | None:
    """A function of one record for a SummaryWriter or a W&B run; train and val stand on one axis, the iteration."""
    if writer is None:
        return None
    if callable(getattr(writer, "add_scalar", None)):
        return lambda record: [writer.add_scalar(name, value, record["iter"]) for name, value in _curves(record)]
    if callable(getattr(writer, "log", None)):
        if callable(getattr(writer, "define_metric", None)):
            writer.define_metric("iter")
            writer.define_metric("*", step_metric="iter")
        return lambda record: writer.log({**dict(_curves(record)), "iter": record["iter"]})
    raise TypeError(
        f"TrainState: writer={writer!r} has neither add_scalar (a TensorBoard SummaryWriter) nor log (a W&B run)."
    )


def _curves(record: dict[str, Any]) -> list[tuple[str, float]]:
    """`<mode>/<name>` and value of everything in a record that is a number."""
    mode = record.get("mode", "train")
    numbers = [(name, value) for name, value in record.items() if isinstance(value, int | float) and name not in PLACE]
    return [(f"{mode}/{name}", value) for name, value in numbers]
