"""Results as text and files: a boxed table, and label maps written as PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["boxed_table", "write_png"]


def boxed_table(columns: Mapping[str, Sequence[Any]]) -> str:
    """A table with a box round it, every cell centred.

    Example:
        >>> print(boxed_table({"Class": ["road", "car"], "IoU": [97.5, 8.25]}))
        +-------+------+
        | Class | IoU  |
        +-------+------+
        |  road | 97.5 |
        |  car  | 8.25 |
        +-------+------+
    """
    cells = [[name, *map(str, values)] for name, values in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    rows = [
        "|" + "|".join(f" {_centred(cell, width)} " for cell, width in zip(row, widths, strict=True)) + "|"
        for row in zip(*cells, strict=True)
    ]
    return "\n".join([rule, rows[0], rule, *rows[1:], rule])


def _centred(text: str, width: int) -> str:
    """Centred; an odd blank goes to the right of texts of odd length, to the left of even ones."""
    blank = width - len(text)
    left = blank // 2 if len(text) % 2 else (blank + 1) // 2
    return " " * left + text + " " * (blank - left)


def write_png(path: Path, labels: npt.NDArray[Any]) -> None:
    """Write a height x width map of uint8 or uint16 as a grey PNG."""
    height, width = labels.shape
    depth = labels.dtype.itemsize
    lines = np.zeros((height, width * depth + 1), np.uint8)
    lines[:, 1:] = np.ascontiguousarray(labels.astype(f">u{depth}")).view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8 * depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in chunks:
            file.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
