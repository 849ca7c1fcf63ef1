"""Transforms that move image and labels together, by MMSegmentation's names and options.

Random numbers come from numpy's global generator, which the data loader seeds per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from seg_engine.resizing import pair

__all__ = ["Pad", "RandomCrop", "RandomFlip", "RandomRotate"]

Record = dict[str, Any]
Pixels = npt.NDArray[Any]


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


class Pad:
    """Adds pixels on the right and below.

    Args:
        size: (width, height) to reach; larger images stay.
        size_divisor: Instead of `size`: reach a multiple of this.
        pad_val: Value of added pixels; or `dict(img=..., seg=...)`.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        size_divisor: int | None = None,
        pad_val: float | dict[str, float] = 0,
        **ignored: Any,
    ) -> None:
        if (size is None) == (size_divisor is None):
            raise ValueError("Pad: give size=(width, height) or size_divisor, one of them")
        self.size, self.divisor = pair("Pad: size", size) if size is not None else None, size_divisor
        values = pad_val if isinstance(pad_val, dict) else {"img": pad_val}
        self.image_value, self.label_value = values.get("img", 0), values.get("seg", 255)

    def __call__(self, record: Record) -> Record:
        """Changes `img` and all `seg_fields`; adds `pad_shape`."""
        height, width = record["img"].shape[:2]
        if self.size is not None:
            right, below = max(self.size[0] - width, 0), max(self.size[1] - height, 0)
        else:
            assert self.divisor is not None
            right, below = -width % self.divisor, -height % self.divisor
        for name in ("img", *record.get("seg_fields", ())):
            value = self.image_value if name == "img" else self.label_value
            edges = [(0, below), (0, right), (0, 0)][: record[name].ndim]
            record[name] = np.pad(record[name], edges, constant_values=value)
        record["img_shape"] = record["pad_shape"] = record["img"].shape[:2]
        return record


class RandomRotate:
    """Turns image and labels about the middle, with a probability; the size stays.

    Args:
        prob: Probability.
        degree: Most degrees in both directions, or (least, most).
        pad_val: Value of pixels that come in from outside the image.
        seg_pad_val: Label of those.
    """

    def __init__(
        self, prob: float, degree: float | Sequence[float], pad_val: float = 0, seg_pad_val: int = 255, **ignored: Any
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"RandomRotate: prob={prob!r} is no probability")
        self.prob, self.pad_val, self.seg_pad_val = prob, pad_val, seg_pad_val
        low, high = (-degree, degree) if isinstance(degree, int | float) else degree
        self.degree = float(low), float(high)

    def __call__(self, record: Record) -> Record:
        """Changes `img` and all `seg_fields`."""
        if np.random.random_sample() < self.prob:
            height, width = record["img"].shape[:2]
            turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -np.random.uniform(*self.degree), 1.0)
            for name in ("img", *record.get("seg_fields", ())):
                value, how = (
                    (self.pad_val, cv2.INTER_LINEAR) if name == "img" else (self.seg_pad_val, cv2.INTER_NEAREST)
                )
                border = [float(value)] * 3
                record[name] = cv2.warpAffine(record[name], turn, (width, height), flags=how, borderValue=border)
        return record
