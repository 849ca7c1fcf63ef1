"""Transforms that change the size of image and labels, by MMSegmentation's names and options.

Random numbers come from numpy's global generator, which the data loader seeds per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from seg_runner.checks import MOST_PIXELS, number, whole

from seg_engine.data.checks import switch
from seg_engine.data.views import resize

__all__ = ["RandomChoiceResize", "RandomResize", "Resize", "fitted", "pair", "span"]

Record = dict[str, Any]
Size = tuple[int, int]
MOST_TIMES = 1000  # as large as before


def fitted(size: Size, scale: Size) -> Size:
    """Return (width, height) of the largest picture of the same shape that `scale` (in either order) has room for.

    >>> fitted((200, 100), (300, 120))
    (240, 120)
    """
    width, height = size
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def pair(name: str, value: object) -> Size:
    """Return two whole numbers of at least 1, from one or two.

    Raises:
        TypeError: One is no number.
        ValueError: There are not one or two, or one is too small or not whole.
    """
    both = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(both) != 2:
        raise ValueError(f"{name}={value!r}: a number, or two, are expected")
    return whole(both[0], name, 1, MOST_PIXELS), whole(both[1], name, 1, MOST_PIXELS)


def span(name: str, value: object, **limits: float) -> tuple[float, float]:
    """Return (smallest, largest) within limits.

    Raises:
        TypeError: One is no number.
        ValueError: There are not two, one lies outside, or the first is the larger.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name}={value!r}: two numbers (smallest, largest) are expected")
    low, high = (number(one, name, **limits) for one in value)
    if low > high:
        raise ValueError(f"{name}={value!r}: the smallest stands first")
    return low, high


class Resize:
    """Resizes the image (bilinear) and its label map (nearest).

    Args:
        scale: (width, height).
        scale_factor: Instead of `scale`: how many times as large; one number or (for width, for height).
        keep_ratio: Take the largest size of the same shape that fits into `scale`.
        **ignored: `clip_object_border`, `interpolation`, `backend`: options for other tasks.
    """

    def __init__(
        self,
        scale: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        keep_ratio: bool = False,
        **ignored: object,
    ) -> None:
        if (scale is None) == (scale_factor is None):
            raise ValueError("Resize: give scale=(width, height) or scale_factor, one of them")
        self.scale = pair("Resize: scale", scale) if scale is not None else None
        self.keep_ratio = switch(keep_ratio, "Resize: keep_ratio")
        factors = list(scale_factor) if isinstance(scale_factor, list | tuple) else [scale_factor] * 2
        if len(factors) != 2:
            raise ValueError(f"Resize: scale_factor={scale_factor!r}: a number, or two, are expected")
        self.factors = [
            number(one, "Resize: scale_factor", above=0, most=MOST_TIMES) for one in factors if scale_factor is not None
        ]

    def __call__(self, record: Record) -> Record:
        """Change `img` and all `seg_fields`; adds `scale`, `scale_factor`, `keep_ratio`."""
        height, width = record["img"].shape[:2]
        resized(record, self.size(width, height))
        record["keep_ratio"] = self.keep_ratio
        return record

    lazily = __call__

    def size(self, width: int, height: int) -> Size:
        """Return the (width, height) that a picture of this size gets."""
        if self.scale is not None:
            return fitted((width, height), self.scale) if self.keep_ratio else self.scale
        across, down = self.factors
        return int(width * across), int(height * down)


def resized(record: Record, size: Size) -> None:
    """Bring everything in a record to (width, height)."""
    size = max(size[0], 1), max(size[1], 1)
    height, width = record["img"].shape[:2]
    record["img"] = resize(record["img"], size, cv2.INTER_LINEAR)
    for name in record.get("seg_fields", ()):
        record[name] = resize(record[name], size, cv2.INTER_NEAREST)
    record.pop("added_pixels", None)
    record["scale"], record["img_shape"] = size, record["img"].shape[:2]
    record["scale_factor"] = (size[0] / width, size[1] / height)


class RandomResize:
    """Resizes by a random factor between two, or to a random size between two.

    Args:
        scale: (width, height); or two of them, between which the size is drawn.
        ratio_range: Smallest and largest factor on `scale`.
        keep_ratio: Take the largest size of the same shape that fits.
        **ignored: `resize_type` and its options.
    """

    def __init__(
        self,
        scale: Sequence[Any],
        ratio_range: tuple[float, float] | None = None,
        keep_ratio: bool = False,
        **ignored: object,
    ) -> None:
        self.between = isinstance(scale, list | tuple) and all(isinstance(one, list | tuple) for one in scale)
        if not self.between and ratio_range is None:
            raise ValueError("RandomResize: scale=(width, height) needs ratio_range=(smallest, largest)")
        if self.between and len(scale) != 2:
            raise ValueError(f"RandomResize: scale={scale!r}: (width, height), or two of them, are expected")
        self.scale: Any = [pair("RandomResize: scale", one) for one in scale] if self.between else None
        if not self.between:
            self.scale = pair("RandomResize: scale", scale)
        limits = {"above": 0, "most": MOST_TIMES}
        self.ratio_range = None if ratio_range is None else span("RandomResize: ratio_range", ratio_range, **limits)
        self.keep_ratio = switch(keep_ratio, "RandomResize: keep_ratio")

    def __call__(self, record: Record) -> Record:
        """Change `img` and all `seg_fields`."""
        return Resize(scale=self.draw(), keep_ratio=self.keep_ratio)(record)

    lazily = __call__

    def draw(self) -> Size:
        """Return a random (width, height)."""
        if self.between:
            lows, highs = (tuple(f(side) for side in zip(*self.scale, strict=True)) for f in (min, max))
            drawn = [int(np.random.randint(low, high + 1)) for low, high in zip(lows, highs, strict=True)]
            return drawn[0], drawn[1]
        assert self.ratio_range is not None
        low, high = self.ratio_range
        ratio = np.random.random_sample() * (high - low) + low
        return max(int(self.scale[0] * ratio), 1), max(int(self.scale[1] * ratio), 1)


class RandomChoiceResize:
    """Resizes to one of several sizes, drawn at random.

    In a config: `dict(type='RandomChoiceResize', scales=[(1024, 512), (2048, 1024)], keep_ratio=True)`.

    Args:
        scales: Sizes as (width, height); a single number is the length of the shorter side (`keep_ratio` is implied).
        keep_ratio: Take the largest size of the same shape that fits.
        max_size: Longest side where `scales` are single numbers; 0 or None: any.
        **ignored: `resize_type` and its options.
    """

    def __init__(
        self, scales: Sequence[Any], keep_ratio: bool = False, max_size: int | None = None, **ignored: object
    ) -> None:
        if not isinstance(scales, list | tuple) or not scales:
            raise ValueError(f"RandomChoiceResize: scales={scales!r} is empty, or no list of sizes")
        name = "RandomChoiceResize: scales"
        self.scales = [
            pair(name, one) if isinstance(one, list | tuple) else whole(one, name, 1, MOST_PIXELS) for one in scales
        ]
        self.keep_ratio = switch(keep_ratio, "RandomChoiceResize: keep_ratio")
        self.max_size = 0 if max_size is None else whole(max_size, "RandomChoiceResize: max_size", most=MOST_PIXELS)

    def __call__(self, record: Record) -> Record:
        """Change `img` and all `seg_fields`."""
        scale = self.scales[int(np.random.randint(len(self.scales)))]
        if isinstance(scale, int):
            return Resize(scale=(self.max_size or MOST_PIXELS, scale), keep_ratio=True)(record)
        return Resize(scale=scale, keep_ratio=self.keep_ratio)(record)

    lazily = __call__
