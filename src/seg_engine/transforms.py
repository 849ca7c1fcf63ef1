"""Transforms that change image and labels together, by MMSegmentation's names and options.

Random numbers come from numpy's global generator, which the data loader seeds per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["PhotoMetricDistortion", "RandomCrop", "RandomFlip", "RandomResize", "Resize"]

Record = dict[str, Any]
Pixels = npt.NDArray[Any]
Size = tuple[int, int]


def fitted(size: Size, scale: Size) -> Size:
    """(width, height) of the largest picture of the same shape that `scale` (in either order) has room for.

    >>> fitted((200, 100), (300, 120))
    (240, 120)
    """
    width, height = size
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def pair(name: str, value: Any) -> Size:
    """Two whole numbers from one or two."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, Sequence) and len(value) == 2:
        return int(value[0]), int(value[1])
    raise ValueError(f"{name}={value!r}: a number, or two, are expected")


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
        **ignored: Any,
    ) -> None:
        if (scale is None) == (scale_factor is None):
            raise ValueError("Resize: give scale=(width, height) or scale_factor, one of them")
        self.scale = pair("Resize: scale", scale) if scale is not None else None
        self.scale_factor, self.keep_ratio = scale_factor, keep_ratio

    def __call__(self, record: Record) -> Record:
        """Changes `img` and all `seg_fields`; adds `scale`, `scale_factor`, `keep_ratio`."""
        height, width = record["img"].shape[:2]
        resized(record, self.size(width, height))
        record["keep_ratio"] = self.keep_ratio
        return record

    def size(self, width: int, height: int) -> Size:
        """The (width, height) that a picture of this size gets."""
        if self.scale is not None:
            return fitted((width, height), self.scale) if self.keep_ratio else self.scale
        factor = self.scale_factor
        assert factor is not None
        across, down = (factor, factor) if isinstance(factor, int | float) else factor
        return int(width * across), int(height * down)


def resized(record: Record, size: Size) -> None:
    """Bring everything in a record to (width, height)."""
    height, width = record["img"].shape[:2]
    record["img"] = cv2.resize(record["img"], size, interpolation=cv2.INTER_LINEAR)
    for name in record.get("seg_fields", ()):
        record[name] = cv2.resize(record[name], size, interpolation=cv2.INTER_NEAREST)
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
        **ignored: Any,
    ) -> None:
        self.between = not isinstance(scale[0], int)
        if not self.between and ratio_range is None:
            raise ValueError("RandomResize: scale=(width, height) needs ratio_range=(smallest, largest)")
        self.scale, self.ratio_range, self.keep_ratio = scale, ratio_range, keep_ratio

    def __call__(self, record: Record) -> Record:
        """Changes `img` and all `seg_fields`."""
        return Resize(scale=self.draw(), keep_ratio=self.keep_ratio)(record)

    def draw(self) -> Size:
        """A random (width, height)."""
        if self.between:
            lows, highs = (tuple(f(side) for side in zip(*self.scale, strict=True)) for f in (min, max))
            drawn = [int(np.random.randint(low, high + 1)) for low, high in zip(lows, highs, strict=True)]
            return drawn[0], drawn[1]
        assert self.ratio_range is not None
        low, high = self.ratio_range
        ratio = np.random.random_sample() * (high - low) + low
        return int(self.scale[0] * ratio), int(self.scale[1] * ratio)


class RandomCrop:
    """Cuts a random window out of image and labels; a smaller image stays whole.

    Args:
        crop_size: (height, width).
        cat_max_ratio: Draw again, up to ten times, while one class covers more than this share.
        ignore_index: Label that does not count for that.
    """

    def __init__(self, crop_size: int | Sequence[int], cat_max_ratio: float = 1.0, ignore_index: int = 255) -> None:
        self.crop_size = pair("RandomCrop: crop_size", crop_size)
        if min(self.crop_size) < 1:
            raise ValueError(f"RandomCrop: crop_size={crop_size!r}; at least 1 x 1 is needed")
        self.cat_max_ratio, self.ignore_index = cat_max_ratio, ignore_index

    def __call__(self, record: Record) -> Record:
        """Changes `img` and all `seg_fields`."""
        window = self.window(record["img"].shape)
        if self.cat_max_ratio < 1 and "gt_seg_map" in record:
            for _ in range(10):
                if self.mixed(record["gt_seg_map"][window]):
                    break
                window = self.window(record["img"].shape)
        for name in ("img", *record.get("seg_fields", ())):
            record[name] = record[name][window]
        record["img_shape"] = record["img"].shape[:2]
        return record

    def window(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """A random window of the crop size."""
        starts = [
            int(np.random.randint(0, max(have - want, 0) + 1))
            for have, want in zip(shape[:2], self.crop_size, strict=True)
        ]
        rows, columns = (slice(start, start + want) for start, want in zip(starts, self.crop_size, strict=True))
        return rows, columns

    def mixed(self, labels: Pixels) -> bool:
        """Whether more than one class is there, and none covers too much."""
        counts = np.bincount(labels[labels != self.ignore_index].ravel())
        counts = counts[counts > 0]
        return len(counts) > 1 and bool(counts.max() / counts.sum() < self.cat_max_ratio)


class RandomFlip:
    """Mirrors image and labels with a probability.

    Args:
        prob: Probability; or one for each direction.
        direction: `horizontal`, `vertical` or `diagonal`, or several, of which one is drawn.
    """

    AXES: ClassVar[dict[str, tuple[int, ...]]] = {"horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}

    def __init__(
        self, prob: float | Sequence[float] | None = 0.5, direction: str | Sequence[str] = "horizontal"
    ) -> None:
        self.directions = [direction] if isinstance(direction, str) else list(direction)
        for name in self.directions:
            if name not in self.AXES:
                raise ValueError(f"RandomFlip: direction={name!r}; one of {', '.join(self.AXES)} is expected")
        one = 0.0 if prob is None else prob
        self.probabilities = (
            [one / len(self.directions)] * len(self.directions) if isinstance(one, int | float) else list(one)
        )
        if len(self.probabilities) != len(self.directions) or not 0 <= sum(self.probabilities) <= 1:
            raise ValueError(f"RandomFlip: prob={prob!r} does not fit direction={direction!r}")

    def __call__(self, record: Record) -> Record:
        """Changes `img` and all `seg_fields`; adds `flip` and `flip_direction`."""
        chances = [*self.probabilities, 1 - sum(self.probabilities)]
        direction = [*self.directions, None][int(np.random.choice(len(chances), p=chances))]
        record["flip"], record["flip_direction"] = direction is not None, direction
        if direction is not None:
            for name in ("img", *record.get("seg_fields", ())):
                record[name] = np.ascontiguousarray(np.flip(record[name], self.AXES[direction]))
        return record


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
        self.brightness_delta, self.hue_delta = brightness_delta, hue_delta
        self.contrast_range = float(contrast_range[0]), float(contrast_range[1])
        self.saturation_range = float(saturation_range[0]), float(saturation_range[1])

    def __call__(self, record: Record) -> Record:
        """Changes `img`."""
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
