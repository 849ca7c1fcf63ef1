"""Pictures whose pixels are made when they are asked for: only the part that is left after a crop is read and resized.

`Compose` hands views to transforms that can do with them, and pixels to all others, so that a view never meets a
transform that does not know it. A transform says so with a method `lazily` in its own class body: like `__call__`, but
`img` and the maps of `seg_fields` may be views. A subclass does not inherit it: its `__call__` may ask for pixels.

The pixels are the same, to the bit, as those of the plain order (read all, resize all, crop): see `_corner`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["View", "pixels_of", "resize", "with_pixels", "with_views"]

Pixels = npt.NDArray[Any]
Size = tuple[int, int]
Window = tuple[slice, slice]

ALIKE = {
    cv2.INTER_LINEAR: (np.uint8,),
    cv2.INTER_NEAREST: (np.uint8, np.uint16, np.int16, np.int32, np.float32),
}
"""Types of which OpenCV resizes a corner as it resizes the whole: sums of floats depend on how many stand in a row."""


@dataclass(frozen=True)
class View:
    """A picture that is yet to be read, or resized, and cut.

    Args:
        given: Shape of the picture before it is resized: H x W, or H x W x channels.
        dtype: Type of its pixels.
        rows: Gives at least its first so many rows.
        size: (width, height) that it is resized to; None: it stays as it is.
        interpolation: A flag of `cv2.resize`.
        window: The part that is left after that; None: all.
    """

    given: tuple[int, ...]
    dtype: npt.DTypeLike
    rows: Callable[[int], Pixels]
    size: Size | None = None
    interpolation: int = cv2.INTER_LINEAR
    window: Window | None = None

    @classmethod
    def of(cls, pixels: Pixels) -> View:
        """Return a view of pixels that are there."""
        return cls(pixels.shape, pixels.dtype, lambda count: pixels[:count])

    @property
    def whole(self) -> tuple[int, ...]:
        """Shape after resizing, before the cut."""
        return self.given if self.size is None else (*self.size[::-1], *self.given[2:])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels that this view makes."""
        if self.window is None:
            return self.whole
        (rows, columns), (height, width) = self.window, self.whole[:2]
        return len(range(*rows.indices(height))), len(range(*columns.indices(width))), *self.given[2:]

    def __getitem__(self, window: Window) -> View:
        """Return a view of a window."""
        if self.window is not None:
            return View.of(self.pixels[window])
        return replace(self, window=window)

    def resized(self, size: Size, interpolation: int) -> View:
        """Return a view of this picture at another (width, height)."""
        if self.size is not None or self.window is not None:
            return View.of(self.pixels).resized(size, interpolation)
        if self.dtype not in ALIKE[interpolation]:
            return View.of(resize(self.pixels, size, interpolation))
        if size == self.given[1::-1]:  # OpenCV copies then: who changes the pixels must not change those given
            return replace(self, rows=lambda count: self.rows(count).copy())
        return replace(self, size=size, interpolation=interpolation)

    @cached_property
    def pixels(self) -> Pixels:
        """The pixels."""
        rows, columns = self.window or (slice(None), slice(None))
        below, right = rows.indices(self.whole[0])[1], columns.indices(self.whole[1])[1]
        if self.size is None:
            return self.rows(below)[rows, columns]
        return _corner(self, right, below)[rows, columns]


def _corner(view: View, right: int, below: int) -> Pixels:
    """Return at least the first `below` rows and `right` columns of a picture that is resized.

    Where OpenCV takes a pixel from depends on its place and on the factor, and on nothing else. So the upper left
    corner of a picture gives, with the same factors, the upper left corner of the resized picture. (A window somewhere
    else does not: its places are rounded differently, and some pixels come out one level off.)
    """
    assert view.size is not None
    (height, width), (across, down) = view.given[:2], view.size
    factors = across / width, down / height
    # one neighbour to the right and below, and one more for rounding
    columns = min(width, math.ceil(right / factors[0]) + 2)
    rows = min(height, math.ceil(below / factors[1]) + 2)
    # OpenCV copies what gets the size that it has, whatever the factors are
    copied = (round(columns * factors[0]), round(rows * factors[1])) == (columns, rows)
    if (columns, rows) == (width, height) or copied:
        return np.asarray(cv2.resize(view.rows(height), view.size, interpolation=view.interpolation))
    part = view.rows(rows)[:rows, :columns]
    return np.asarray(cv2.resize(part, None, fx=factors[0], fy=factors[1], interpolation=view.interpolation))


def resize(picture: Any, size: Size, interpolation: int) -> Any:
    """Return pixels, or a view where a view is given, at another (width, height)."""
    if isinstance(picture, View):
        return picture.resized(size, interpolation)
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation))


def pixels_of(picture: Any) -> Pixels:
    """Return pixels, whether they are there or not."""
    found: Pixels = picture.pixels if isinstance(picture, View) else picture
    return found


def with_views(record: Any) -> Any:
    """Let a record hold views instead of pixels."""
    for name, picture in _pictures(record):
        if isinstance(picture, np.ndarray) and _keeps_axes(picture):
            record[name] = View.of(picture)
    return record


def with_pixels(record: Any) -> Any:
    """Let a record hold pixels instead of views."""
    for name, picture in _pictures(record):
        if isinstance(picture, View):
            record[name] = picture.pixels
    return record


def _pictures(record: Any) -> list[tuple[str, Any]]:
    """Return name and value of what transforms resize and cut; nothing of what is no record."""
    if not isinstance(record, MutableMapping):
        return []
    return [(name, record[name]) for name in ("img", *(record.get("seg_fields") or ())) if name in record]


def _keeps_axes(picture: Pixels) -> bool:
    """Tell whether a picture has pixels, and as many axes after OpenCV resized it: one channel loses the last."""
    return bool(picture.size) and (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] > 1))
