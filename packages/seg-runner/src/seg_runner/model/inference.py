"""Inference on images: whole or in windows, then back to the original image (pure functions)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F

from seg_runner.checks import one_of, pair, unused, whole
from seg_runner.model.samples import PixelData, SegDataSample

__all__ = ["best_class", "infer", "labels_of", "read_test_cfg", "resize", "restore", "slide", "write_prediction"]

Forward = Callable[[torch.Tensor], torch.Tensor]
Window = tuple[Any, slice, slice]
TEST_KEYS = ("mode", "crop_size", "stride", "windows")
STRIP, FEW = 1 << 14, 64
"""So many pixels at a time are looked through for their best class, so that their logits stay in the cache; that pays
for so many of them at least, and for so few classes."""


def resize(logits: torch.Tensor, size: tuple[int, int], align_corners: bool = False) -> torch.Tensor:
    """Resize N x C x H x W logits bilinearly; return the same tensor where the size fits already."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=align_corners)


def read_test_cfg(test_cfg: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a checked copy of `test_cfg`: mode 'whole', or 'slide' with crop_size and stride as (height, width).

    A slide may say how many `windows` of an image go through the model at a time (1).

    Raises:
        TypeError: it is no dict, or has another key.
        ValueError: another mode, a slide without its sizes, or a number of windows that is none.
    """
    if not isinstance(test_cfg, Mapping | None):
        raise TypeError(f"test_cfg must be a dict such as dict(mode='whole'), not {test_cfg!r}")
    cfg = dict(test_cfg or {})
    cfg.setdefault("mode", "whole")
    if others := unused(set(cfg) - set(TEST_KEYS), TEST_KEYS):
        raise TypeError(f"test_cfg takes {', '.join(TEST_KEYS)}, not {others}")
    if one_of(cfg["mode"], "test_cfg.mode", ("whole", "slide")) == "slide":
        for name in ("crop_size", "stride"):
            if name not in cfg:
                raise ValueError(f"test_cfg: mode='slide' needs {name}=(height, width)")
            cfg[name] = pair(cfg[name], f"test_cfg.{name}")
        cfg["windows"] = whole(cfg.get("windows", 1), "test_cfg.windows", 1)
        if any(step > crop for step, crop in zip(cfg["stride"], cfg["crop_size"], strict=True)):
            warnings.warn(
                f"test_cfg.stride {cfg['stride']} is larger than crop_size {cfg['crop_size']}: "
                "images with pixels between the windows will be an error",
                stacklevel=2,
            )
    return cfg


def infer(
    forward: Forward, inputs: torch.Tensor, test_cfg: Mapping[str, Any], align_corners: bool = False
) -> torch.Tensor:
    """Return logits for a batch at its own size, whole or in windows, as `test_cfg` (read by `read_test_cfg`) says."""
    if test_cfg["mode"] == "slide":
        sizes = test_cfg["crop_size"], test_cfg["stride"]
        return slide(forward, inputs, *sizes, align_corners, test_cfg.get("windows", 1))
    return resize(forward(inputs), _size(inputs), align_corners)


def slide(
    forward: Forward,
    inputs: torch.Tensor,
    crop_size: tuple[int, int],
    stride: tuple[int, int],
    align_corners: bool = False,
    at_once: int = 1,
) -> torch.Tensor:
    """Return logits from overlapping windows, averaged where they overlap.

    Windows that would reach over the border are moved inside; an image smaller than the window is one window. Logits
    of 16 bits are added up in 32. All windows are added up in one tensor, in their order from the top left.

    Args:
        forward: N x 3 x h x w to N x C x h' x w' logits.
        inputs: N x 3 x H x W.
        crop_size: height and width of a window.
        stride: how far apart windows begin, down and to the right.
        align_corners: for bringing the logits of a window to its size.
        at_once: so many windows of each image make one batch for `forward`. More fill an accelerator, and take more
            memory; a convolution may round the same window differently in a batch of another size, in the last bits.

    Raises:
        ValueError: the windows leave out pixels of this image.

    Example:
        >>> slide(lambda part: part[:, :1] * 2, torch.ones(1, 3, 5, 7), (4, 4), (2, 2), at_once=4).unique()
        tensor([2.])
    """
    height, width = _size(inputs)
    size = min(crop_size[0], height), min(crop_size[1], width)
    tops, lefts = (_starts(*side) for side in zip((height, width), crop_size, stride, strict=True))
    windows = [(..., slice(top, top + size[0]), slice(left, left + size[1])) for top in tops for left in lefts]
    total: torch.Tensor | None = None
    hits = inputs.new_zeros((1, 1, height, width))
    for start in range(0, len(windows), at_once):
        some = windows[start : start + at_once]
        parts = inputs[some[0]] if len(some) == 1 else torch.cat([inputs[window] for window in some])
        total = _added(total, resize(forward(parts), size, align_corners), some, (height, width))
        for window in some:
            hits[window] += 1
    assert total is not None
    return total.div_(hits.clamp_min_(1))  # in place: a second tensor of this size would be the peak of the memory


def _added(
    total: torch.Tensor | None, logits: torch.Tensor, windows: Sequence[Window], size: tuple[int, int]
) -> torch.Tensor:
    """Add the logits of some windows to the sum, and return it. None of them is kept while the next ones are made."""
    images = len(logits) // len(windows)
    if total is None:
        exact = torch.promote_types(logits.dtype, torch.float32)
        total = logits.new_zeros((images, logits.shape[1], *size), dtype=exact)
    for window, part in zip(windows, logits.chunk(len(windows)), strict=True):
        total[window].add_(part)
    return total


def _starts(length: int, crop: int, stride: int) -> list[int]:
    """Return where windows begin along one side."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    starts = [max(min(index * stride + crop, length) - crop, 0) for index in range(count)]
    if any(after - before > crop for before, after in pairwise(starts)):
        raise ValueError(
            f"test_cfg: windows of {crop} pixels that begin {stride} apart leave out pixels of a side of {length}: "
            "stride must not be larger than crop_size"
        )
    return starts


def restore(
    logits: torch.Tensor, facts: Mapping[str, Any], size: tuple[int, int] | None = None, align_corners: bool = False
) -> torch.Tensor:
    """Bring one image's C x H x W logits back to the original image: padding off, flip undone, resized.

    Args:
        logits: at the size of the network's input.
        facts: metainfo; `img_padding_size` or `padding_size` (left, right, top, bottom), `added_pixels` (those that
            the pipeline had added before), `flip`, `flip_direction`, `ori_shape` are used.
        size: the size wanted; default: `ori_shape`, else the size without padding.
        align_corners: for the resize.

    Raises:
        ValueError: an unknown flip direction, or an `ori_shape` that is no size.
    """
    for padding in (facts.get("img_padding_size", facts.get("padding_size")), facts.get("added_pixels")):
        left, right, top, bottom = padding or (0, 0, 0, 0)
        height, width = logits.shape[-2:]
        logits = logits[:, top : height - bottom, left : width - right]
    if facts.get("flip"):
        logits = torch.flip(logits, _flip_axes(facts.get("flip_direction")))
    wanted = size or facts.get("ori_shape")
    if wanted is None:
        return logits
    if len(wanted) < 2 or not all(isinstance(side, Integral) and int(side) > 0 for side in wanted[:2]):
        name = facts.get("img_path", "a sample")
        raise ValueError(f"{name}: ori_shape must be (height, width) of the original image, not {wanted!r}")
    return resize(logits[None], (int(wanted[0]), int(wanted[1])), align_corners)[0]


def best_class(logits: torch.Tensor, dim: int, keepdim: bool = False) -> torch.Tensor:
    """Return the index of the largest logit along an axis, the first of equal ones, as `torch.argmax` does.

    NaN counts as the largest, as there. On an accelerator it is `argmax`. On a CPU that takes three to five times as
    long as `max` over an axis that is not the last. Twice as quick as that, where classes are few and pixels many, is
    to find the largest logit, and then the first class that has it.

    >>> best_class(torch.tensor([[0.0, 2.0], [1.0, 2.0]]), 0)
    tensor([1, 0])
    """
    if logits.device.type != "cpu":
        return logits.argmax(dim, keepdim=keepdim)
    dim = dim % max(logits.dim(), 1)
    rows = dim + 1
    in_rows = rows < logits.dim() and logits.stride(-1) == 1
    pays = in_rows and logits.shape[dim] <= FEW and logits.numel() >= STRIP * logits.shape[dim] > 0
    if not pays or torch.compiler.is_compiling():
        return logits.max(dim, keepdim=keepdim).indices
    step = max(STRIP * logits.shape[dim] * logits.shape[rows] // logits.numel(), 1)
    best = torch.empty(logits.shape[:dim] + logits.shape[rows:], dtype=torch.int64)
    for part, place in zip(torch.split(logits.detach(), step, rows), torch.split(best, step, dim), strict=True):
        place.copy_(_first_of_largest(part, dim))
    return best.unsqueeze(dim) if keepdim else best


def _first_of_largest(logits: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the index of the first of the largest logits along an axis of few.

    Each class has a number, the first one's the largest: of the classes whose logit is the largest, the largest
    number is that of the first. Where a NaN is the largest, no logit equals it, and no number is left.
    """
    classes = logits.shape[dim]
    numbers = torch.arange(classes, 0, -1, dtype=torch.uint8).view(-1, *[1] * (logits.dim() - dim - 1))
    left = (logits == logits.amax(dim, keepdim=True)).view(torch.uint8).mul_(numbers).amax(dim)
    return classes - left.long() if left.all() else logits.max(dim).indices


def labels_of(logits: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Return 1 x H x W class indices of C x H x W logits; with C = 1, one where the probability is above threshold."""
    if logits.shape[0] == 1:
        return (logits.sigmoid() > threshold).long()
    return best_class(logits, 0, keepdim=True)


def write_prediction(sample: SegDataSample, logits: torch.Tensor, threshold: float = 0.5) -> SegDataSample:
    """Put logits (probabilities where there is one channel) and labels into a sample, and return it."""
    sample.seg_logits = PixelData(data=logits if logits.shape[0] > 1 else logits.sigmoid())
    sample.pred_sem_seg = PixelData(data=labels_of(logits, threshold))
    return sample


def _flip_axes(direction: object) -> list[int]:
    """Return the axes of C x H x W along which a flip goes."""
    axes = {"horizontal": [2], "vertical": [1], "diagonal": [1, 2]}
    if not isinstance(direction, str) or direction not in axes:
        raise ValueError(f"flip_direction: 'horizontal', 'vertical' or 'diagonal' is expected, not {direction!r}")
    return axes[direction]


def _size(images: torch.Tensor) -> tuple[int, int]:
    """Return height and width."""
    return int(images.shape[-2]), int(images.shape[-1])
