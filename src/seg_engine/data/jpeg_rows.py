"""The first rows of a JPEG: a crop near the top of a picture needs no more of its file decoded than that."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["JpegRows"]

Bytes = npt.NDArray[np.uint8]

START, SCAN, END = 0xC0, 0xDA, 0xD9
"""Markers of a baseline JPEG: its header with the size, its pixels, its end. Each stands behind a byte 255."""

MARKER = re.compile(rb"\xff[^\x00]")
"""What ends the pixels: a byte 255 among them is followed by 0."""

MARGIN = 32
"""Rows below those that are wanted: the last one differs, since colours are smoothed across the edges of blocks."""


class JpegRows(NamedTuple):
    """Where the header and the pixels of a baseline JPEG lie, so that it can be told to be lower than it is.

    Args:
        data: All bytes of the file.
        size: (height, width).
        header: Where its height stands, in two bytes.
        end: Where its pixels end.
    """

    data: Bytes
    size: tuple[int, int]
    header: int
    end: int

    @classmethod
    def of(cls, data: Bytes) -> JpegRows | None:
        """Return how to read the first rows; None for another kind of file, or one whose end is missing."""
        start, at = -1, 2
        if data[:2].tobytes() != b"\xff\xd8":
            return None
        while at + 9 <= data.size and data[at] == 255 and data[at + 1] != SCAN:
            start = at + 5 if data[at + 1] == START else start
            at += 2 + _number(data, at + 2)
        if start < 0 or at + 9 > data.size or data[at] != 255:
            return None
        # The first marker behind the pixels is the end: there are no restarts, and no more scans.
        found = MARKER.search(data, at + 2 + _number(data, at + 2))  # type: ignore[call-overload]
        if found is None or data[found.start() + 1] != END:
            return None
        size = _number(data, start), _number(data, start + 2)
        return cls(data, size, start, found.start()) if min(size) else None

    def read(self, count: int, flags: int) -> npt.NDArray[Any] | None:
        """Return at least the first `count` rows as `cv2.imdecode` gives them; None where all are to be read.

        The file without its end is given to OpenCV with a smaller height in its header: it stops there, and silently,
        since no end contradicts it.
        """
        rows = count + MARGIN
        if rows + MARGIN > self.size[0]:
            return None
        part = self.data[: self.end].copy()
        part[self.header : self.header + 2] = rows >> 8, rows & 255
        try:
            return cv2.imdecode(part, flags)
        except cv2.error:  # reading all says it better
            return None


def _number(data: Bytes, at: int) -> int:
    """Return the number that two bytes hold."""
    return int(data[at]) << 8 | int(data[at + 1])
