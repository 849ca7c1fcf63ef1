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
        """Change `img`."""
        image = record["img"].astype(np.float32)
        if _coin():
            image = image + np.random.uniform(-self.brightness_delta, self.brightness_delta)
        contrast_first = _coin()
        if contrast_first and _coin():
            image = image * np.random.uniform(*self.contrast_range)
        image = self.colours(image)
        if not contrast_first and _coin():
            image = image * np.random.uniform(*self.contrast_range)
        record["img"] = np.clip(image, 0, 255).astype(np.uint8)
        return record

    def colours(self, image: Pixels) -> Pixels:
        """Change saturation and hue, each or none."""
        saturate, turn = _coin(), _coin()
        if not saturate and not turn:
            return image
        hsv = cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_BGR2HSV).astype(np.float32)
        if saturate:
            hsv[..., 1] = np.clip(hsv[..., 1] * np.random.uniform(*self.saturation_range), 0, 255)
        if turn:
            hsv[..., 0] = (hsv[..., 0] + np.random.randint(-self.hue_delta, self.hue_delta + 1)) % 180
        return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR), np.float32)


def _coin() -> bool:
    return bool(np.random.randint(2))
