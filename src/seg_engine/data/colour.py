"""Transforms that change the colours of an image, by MMSegmentation's names and options.

Random numbers come from numpy's global generator, which the data loader seeds per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from seg_runner.checks import number, whole

from seg_engine.data.resizing import span

__all__ = ["PhotoMetricDistortion"]

Record = dict[str, Any]
Pixels = npt.NDArray[Any]
BYTES: Pixels = np.arange(256, dtype=np.uint8)


class PhotoMetricDistortion:
    """Random brightness, contrast, saturation and hue, each with probability one half (arXiv:1512.02325, section 3.6).

    Args:
        brightness_delta: Most that is added or taken off.
        contrast_range: Smallest and largest factor on all values.
        saturation_range: Smallest and largest factor on the saturation.
        hue_delta: Most that the hue turns, of 180.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        name = "PhotoMetricDistortion"
        self.brightness_delta = number(brightness_delta, f"{name}: brightness_delta", least=0, most=255)
        self.hue_delta = whole(number(hue_delta, f"{name}: hue_delta", least=0, most=180), f"{name}: hue_delta")
        self.contrast_range = span(f"{name}: contrast_range", contrast_range, least=0, most=1000)
        self.saturation_range = span(f"{name}: saturation_range", saturation_range, least=0, most=1000)

    def __call__(self, record: Record) -> Record:
        """Change `img`, with the draws and roundings of MMSegmentation, so that equal seeds give equal pixels.

        All but the way between colour spaces changes each value by itself. So in an image of bytes a table of the 256
        values is changed, in floats as pixels were, and looked up once: the same pixels in a fraction of the time.
        """
        image: Pixels = record["img"]
        values: Pixels = BYTES if image.dtype == np.uint8 else image
        if _coin():
            values = _bytes(values, added=np.random.uniform(-self.brightness_delta, self.brightness_delta))
        contrast_first = _coin()
        if contrast_first and _coin():
            values = _bytes(values, factor=np.random.uniform(*self.contrast_range))
        if _coin():
            saturations = _bytes(BYTES, factor=np.random.uniform(*self.saturation_range))
            image, values = _in_hsv(_looked_up(values, image), 1, saturations), BYTES
        if _coin() and self.hue_delta:
            hues = (BYTES.astype(int) + np.random.randint(-self.hue_delta, self.hue_delta)) % 180
            image, values = _in_hsv(_looked_up(values, image), 0, hues.astype(np.uint8)), BYTES
        if not contrast_first and _coin():
            values = _bytes(values, factor=np.random.uniform(*self.contrast_range))
        record["img"] = _looked_up(values, image)
        return record


def _bytes(values: Pixels, factor: float = 1, added: float = 0) -> Pixels:
    """Return values times a factor, and something added, as bytes."""
    found: Pixels = np.clip(values.astype(np.float32) * factor + added, 0, 255).astype(np.uint8)
    return found


def _in_hsv(image: Pixels, channel: int, table: Pixels) -> Pixels:
    """Return an image of bytes (BGR) with other values of one channel (hue, saturation, value), by a table."""
    tables = np.repeat(BYTES[:, None], 3, axis=1)
    tables[:, channel] = table
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables[None])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def _looked_up(values: Pixels, image: Pixels) -> Pixels:
    """Return the pixels as bytes: those of an image by a table of values, or the values that are all pixels already."""
    if values is BYTES:
        return image
    if values.ndim == 1:
        return np.asarray(cv2.LUT(image, values))
    return values if values.dtype == np.uint8 else _bytes(values)


def _coin() -> bool:
    return bool(np.random.randint(2))
