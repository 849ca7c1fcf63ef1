"""Transforms that move image and labels together, by MMSegmentation's names and options.

Random numbers come from numpy's global generator, which the data loader seeds per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
from seg_runner.checks import number, whole

from seg_engine.data.resizing import pair, span
from seg_engine.data.views import pixels_of

__all__ = ["Pad", "RandomCrop", "RandomFlip", "RandomRotate"]

Record = dict[str, Any]
Pixels = npt.NDArray[Any]


def filled(record: Record, name: str, given: float | None) -> tuple[float, Pixels]:
    """Return the label of added pixels, and the map in a type that holds it.

    Added pixels do not count: they get the label that the data set leaves out, which is the one of the model's head;
    the number of a class is taken as it is meant. Outside a data set, what is given, or 255.
    """
    own, classes = record.get("ignore_index", 255), record.get("classes")
    if classes:  # 255 means "does not count", however many classes there are
        meant = given is not None and 0 <= given < len(classes) and given != 255
    else:
        meant = "ignore_index" not in record
    value = given if given is not None and meant else own
    pixels: Pixels = record[name]
    if pixels.dtype.kind in "iu" and not np.iinfo(pixels.dtype).min <= value <= np.iinfo(pixels.dtype).max:
        pixels = pixels.astype(np.int16 if -(2**15) <= value < 2**15 else np.int32)
    return value, pixels


class RandomCrop:
    """Cuts a random window out of image and labels; a smaller image stays whole.

    In a config: `dict(type='RandomCrop', crop_size=(512, 1024), cat_max_ratio=0.75)`.

    Args:
        crop_size: (height, width).
        cat_max_ratio: Draw again, up to ten times, while one class covers more than this share.
        ignore_index: Label that does not count for that, beside the one that the data set leaves out.
    """

    def __init__(self, crop_size: int | Sequence[int], cat_max_ratio: float = 1.0, ignore_index: int = 255) -> None:
        self.crop_size = pair("RandomCrop: crop_size", crop_size)
        self.cat_max_ratio = number(cat_max_ratio, "RandomCrop: cat_max_ratio, a share of the pixels,", most=1, above=0)
        self.ignore_index = whole(ignore_index, "RandomCrop: ignore_index", None)

    def __call__(self, record: Record) -> Record:
        """Change `img` and all `seg_fields`."""
        shape, left_out = record["img"].shape, record.get("ignore_index", self.ignore_index)
        window, names = self.window(shape), ["img", *record.get("seg_fields", ())]
        cut = {name: record[name][window] for name in names}
        if self.cat_max_ratio < 1 and "gt_seg_map" in record:
            for _ in range(10):
                labels = cut["gt_seg_map"] if "gt_seg_map" in cut else record["gt_seg_map"][window]
                if self.mixed(pixels_of(labels), left_out):
                    break
                window = self.window(shape)
                cut = {name: record[name][window] for name in names}
        record.update(cut)
        record.pop("added_pixels", None)
        record["img_shape"] = record["img"].shape[:2]
        return record

    lazily = __call__

    def window(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """Return a random window of the crop size."""
        starts = [
            int(np.random.randint(0, max(have - want, 0) + 1))
            for have, want in zip(shape[:2], self.crop_size, strict=True)
        ]
        rows, columns = (slice(start, start + want) for start, want in zip(starts, self.crop_size, strict=True))
        return rows, columns

    def mixed(self, labels: Pixels, left_out: int = 255) -> bool:
        """Tell whether more than one class is there, and none covers too much."""
        if labels.dtype == np.uint8:
            found = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel().astype(np.int64)
            ignored = [label for label in (self.ignore_index, left_out) if 0 <= label < 256]
            found[ignored] = 0
            counts = found[found > 0]
        else:
            counted = labels[(labels != self.ignore_index) & (labels != left_out) & (labels >= 0)]
            counts = np.unique(counted, return_counts=True)[1]
        return len(counts) > 1 and bool(counts.max() / counts.sum() < self.cat_max_ratio)


class RandomFlip:
    """Mirrors image and labels with a probability.

    Args:
        prob: Probability; or one for each direction.
        direction: `horizontal`, `vertical` or `diagonal`, or several, of which one is drawn.
    """

    CODES: ClassVar[dict[str, int]] = {"horizontal": 1, "vertical": 0, "diagonal": -1}
    AXES: ClassVar[dict[str, tuple[int, ...]]] = {"horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}

    def __init__(
        self, prob: float | Sequence[float] | None = 0.5, direction: str | Sequence[str] = "horizontal"
    ) -> None:
        self.directions = [direction] if isinstance(direction, str) else list(direction)
        for name in self.directions:
            if name not in self.AXES:
                raise ValueError(f"RandomFlip: direction={name!r}; one of {', '.join(self.AXES)} is expected")
        listed = list(prob) if isinstance(prob, list | tuple) else [0.0 if prob is None else prob]
        given = [number(one, "RandomFlip: prob", least=0, most=1) for one in listed]
        shared = [given[0] / len(self.directions)] * len(self.directions) if given else []
        self.probabilities = given if isinstance(prob, list | tuple) else shared
        if len(self.probabilities) != len(self.directions) or not 0 <= sum(self.probabilities) <= 1:
            raise ValueError(f"RandomFlip: prob={prob!r} does not fit direction={direction!r}")

    def __call__(self, record: Record) -> Record:
        """Change `img` and all `seg_fields`; adds `flip` and `flip_direction`."""
        chances = [*self.probabilities, 1 - sum(self.probabilities)]
        direction = [*self.directions, None][int(np.random.choice(len(chances), p=chances))]
        record["flip"], record["flip_direction"] = direction is not None, direction
        if direction is not None:
            for name in ("img", *record.get("seg_fields", ())):
                record[name] = self.mirrored(record[name], direction)
            if "added_pixels" in record:
                left, right, top, bottom = record["added_pixels"]
                across, down = (axis in self.AXES[direction] for axis in (1, 0))
                sides = ((right, left) if across else (left, right)) + ((bottom, top) if down else (top, bottom))
                record["added_pixels"] = sides
        return record

    def mirrored(self, pixels: Pixels, direction: str) -> Pixels:
        """Return a mirrored array; OpenCV, which knows fewer kinds, takes a quarter of numpy's time."""
        if pixels.dtype not in (np.uint8, np.int16, np.int32, np.float32) or pixels.shape[2:] not in ((), (3,), (4,)):
            return np.ascontiguousarray(np.flip(pixels, self.AXES[direction]))
        return np.asarray(cv2.flip(pixels, self.CODES[direction]))


class Pad:
    """Adds pixels on the right and below.

    Args:
        size: (width, height) to reach; larger images stay.
        size_divisor: Instead of `size`: reach a multiple of this.
        pad_val: Value of added pixels; or `dict(img=..., seg=...)`. Added labels do not count, unless `seg` is the
            number of a class.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        size_divisor: int | None = None,
        pad_val: float | dict[str, float] = 0,
        **ignored: object,
    ) -> None:
        if (size is None) == (size_divisor is None):
            raise ValueError("Pad: give size=(width, height) or size_divisor, one of them")
        self.size = None if size is None else pair("Pad: size", size)
        self.divisor = None if size_divisor is None else whole(size_divisor, "Pad: size_divisor", 1)
        values = pad_val if isinstance(pad_val, dict) else {"img": pad_val}
        if unknown := set(values) - {"img", "seg"}:
            raise ValueError(f"Pad: pad_val takes img and seg, not {', '.join(map(str, sorted(unknown, key=str)))}")
        seg = values.get("seg")
        self.image_value = number(values.get("img", 0), "Pad: pad_val")
        self.label_value = None if seg is None else whole(seg, "Pad: pad_val (seg)", None)

    def __call__(self, record: Record) -> Record:
        """Change `img` and all `seg_fields`; adds `pad_shape`, and `added_pixels` where the image alone is padded.

        Label maps of a test pipeline are read after this, so that a prediction loses these pixels again.
        """
        height, width = record["img"].shape[:2]
        if self.size is not None:
            right, below = max(self.size[0] - width, 0), max(self.size[1] - height, 0)
        else:
            assert self.divisor is not None
            right, below = -width % self.divisor, -height % self.divisor
        for name in ("img", *record.get("seg_fields", ())):
            if not below and not right:
                break
            image = name == "img"
            value, pixels = (self.image_value, record[name]) if image else filled(record, name, self.label_value)
            edges = [(0, below), (0, right), (0, 0)][: pixels.ndim]
            record[name] = np.pad(pixels, edges, constant_values=value)
        record["img_shape"] = record["pad_shape"] = record["img"].shape[:2]
        if (below or right) and not record.get("seg_fields"):
            left, before, top, above = record.get("added_pixels", (0, 0, 0, 0))
            record["added_pixels"] = left, before + right, top, above + below
        return record


class RandomRotate:
    """Turns image and labels about the middle, with a probability; the size stays.

    In a config: `dict(type='RandomRotate', prob=0.5, degree=10)`.

    Args:
        prob: Probability.
        degree: Most degrees in both directions, or (least, most).
        pad_val: Value of pixels that come in from outside the image.
        seg_pad_val: Label of those, where it is the number of a class; otherwise they do not count.
    """

    def __init__(
        self,
        prob: float,
        degree: float | Sequence[float],
        pad_val: float = 0,
        seg_pad_val: int | None = None,
        **ignored: object,
    ) -> None:
        self.prob = number(prob, "RandomRotate: prob", least=0, most=1)
        self.pad_val = number(pad_val, "RandomRotate: pad_val")
        self.seg_pad_val = None if seg_pad_val is None else whole(seg_pad_val, "RandomRotate: seg_pad_val", None)
        if not isinstance(degree, list | tuple):
            most = number(degree, "RandomRotate: degree", least=0)
            degree = -most, most
        low, high = span("RandomRotate: degree", degree)
        self.degree = float(low), float(high)

    def __call__(self, record: Record) -> Record:
        """Change `img` and all `seg_fields`."""
        if np.random.random_sample() < self.prob:
            height, width = record["img"].shape[:2]
            turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -np.random.uniform(*self.degree), 1.0)
            for name in ("img", *record.get("seg_fields", ())):
                image = name == "img"
                how = cv2.INTER_LINEAR if image else cv2.INTER_NEAREST
                value, pixels = (self.pad_val, record[name]) if image else filled(record, name, self.seg_pad_val)
                border = [float(value)] * 4
                record[name] = cv2.warpAffine(pixels, turn, (width, height), flags=how, borderValue=border)
        return record
