"""Palette indices of a PNG file (label maps of Pascal VOC and many tools), which OpenCV would turn into colours."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["read_indices"]


def read_indices(path: str | Path) -> npt.NDArray[np.uint8] | None:
    """H x W indices of a PNG with a palette (1 to 8 bits, not interlaced); None for any other file.

    PNG specification, third edition, sections 4.4, 7.2 and 9.
    """
    data = Path(path).read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if colour != 3 or interlaced:
        return None
    rows = np.frombuffer(zlib.decompress(_pixels(data)), np.uint8).reshape(height, -1)
    packed = unfiltered(rows[:, 0], rows[:, 1:])
    if bits == 8:
        return packed
    parts = [(packed >> shift) & (2**bits - 1) for shift in range(8 - bits, -1, -bits)]
    return np.stack(parts, -1).reshape(height, -1)[:, :width]


def _pixels(data: bytes) -> bytes:
    """The contents of all IDAT chunks, joined."""
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            found.append(data[at + 8 : at + 8 + length])
        at += length + 12
    return b"".join(found)


def unfiltered(kinds: npt.NDArray[np.uint8], rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Undo the five line filters for one byte per pixel.

    >>> unfiltered(np.array([1, 2], np.uint8), np.array([[1, 1, 1], [5, 0, 0]], np.uint8))
    array([[1, 2, 3],
           [6, 2, 3]], dtype=uint8)
    """
    result = np.zeros_like(rows)
    above = np.zeros(rows.shape[1], np.uint8)
    for line, (kind, row) in enumerate(zip(kinds, rows, strict=True)):
        if kind == 1:
            above = np.cumsum(row, dtype=np.uint8)
        elif kind == 2:
            above = row + above
        elif kind in (3, 4):
            above = _along(row, above, paeth=bool(kind == 4))
        else:
            above = row
        result[line] = above
    return result


def _along(row: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], paeth: bool) -> npt.NDArray[np.uint8]:
    """The two filters that look left and up: pixel by pixel."""
    done: list[int] = []
    left = corner = 0
    for value, up in zip(row.tolist(), above.tolist(), strict=True):
        guess = _paeth(left, up, corner) if paeth else (left + up) // 2
        left, corner = (value + guess) % 256, up
        done.append(left)
    return np.array(done, np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    away = (abs(estimate - left), abs(estimate - up), abs(estimate - corner))
    return (left, up, corner)[away.index(min(away))]
