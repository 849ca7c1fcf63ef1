"""Results as text and files: a boxed table, and maps of samples written as PNG."""

from __future__ import annotations

import contextlib
import logging
import secrets
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_runner.names import FileNames, printable

__all__ = ["SampleFiles", "boxed_table", "missing_files", "write_png"]

Log = logging.getLogger


def boxed_table(columns: Mapping[str, Sequence[object]]) -> str:
    """Return a table with a box round it, every cell centred.

    Example:
        >>> print(boxed_table({"Class": ["road", "car"], "IoU": [97.5, 8.25]}))
        +-------+------+
        | Class | IoU  |
        +-------+------+
        |  road | 97.5 |
        |  car  | 8.25 |
        +-------+------+
    """
    cells = [[printable(value, lines=False) for value in (name, *values)] for name, values in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    rows = [
        "|" + "|".join(f" {_centred(cell, width)} " for cell, width in zip(row, widths, strict=True)) + "|"
        for row in zip(*cells, strict=True)
    ]
    return "\n".join([rule, rows[0], rule, *rows[1:], rule])


def _centred(text: str, width: int) -> str:
    """Centre a text; an odd blank goes to the right of texts of odd length, to the left of even ones."""
    blank = width - len(text)
    left = blank // 2 if len(text) % 2 else (blank + 1) // 2
    return " " * left + text + " " * (blank - left)


def write_png(path: Path, labels: npt.NDArray[Any]) -> None:
    """Write a height x width map of uint8 or uint16 as a grey PNG: whole or not at all, and never through a link."""
    height, width = labels.shape
    depth = labels.dtype.itemsize
    lines = np.zeros((height, width * depth + 1), np.uint8)
    lines[:, 1:] = np.ascontiguousarray(labels.astype(f">u{depth}")).view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8 * depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(body)) + kind + body for kind, body in chunks]
    parts = [part + struct.pack(">I", zlib.crc32(part[4:])) for part in parts]
    aside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as file:
            file.write(b"".join([b"\x89PNG\r\n\x1a\n", *parts]))
        aside.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError):  # said of the file that is wanted
            raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from error
        raise


class SampleFiles:
    """The PNG files of a metric, one for each image, named as `FileNames` says.

    Where the first one cannot be written it is an error. Later the pass goes on, since its numbers are worth more than
    its pictures, and its end says what is missing.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing = 0
        """How many files of the last pass are not there."""
        self._names, self._without = FileNames(), 0
        self._written: list[Path] = []
        self._failed: list[OSError] = []

    def write(self, path: str, pixels: npt.NDArray[Any]) -> None:
        """Write what belongs to the image of this path ('' where there is none: it gets a number).

        Raises:
            OSError: The first file of a pass cannot be written.
        """
        if not path:
            path = f"prediction_{self._without}"
            self._without += 1
        target = self.folder / f"{self._names.of(path)}.png"
        try:
            write_png(target, pixels)
        except OSError as error:
            if not self._written:
                raise
            if not self._failed:
                text = "%s %s; the test goes on, and its end says which predictions are missing"
                Log(__name__).warning(text, printable(target, lines=False), error.strerror)
            self._failed.append(error)
        else:
            self._written.append(target)

    def end_pass(self) -> None:
        """Say how many files are not there; begin to number images without a path anew."""
        gone = [path for path in self._written if not path.exists()]
        self.missing, total = len(self._failed) + len(gone), len(self._failed) + len(self._written)
        if self.missing:
            first = self._failed[0] if self._failed else f"somebody removed {gone[0].name}"
            text = "%d of %d predictions are not in %s: %s"
            Log(__name__).error(text, self.missing, total, printable(self.folder), printable(first, lines=False))
        self._without, self._written, self._failed = 0, [], []


def missing_files(evaluators: Iterable[object]) -> int:
    """Return how many files the metrics of evaluators lacked at the end of their last pass."""
    metrics = [metric for evaluator in evaluators for metric in getattr(evaluator, "metrics", ())]
    return sum(getattr(getattr(metric, "_files", None), "missing", 0) for metric in metrics)
