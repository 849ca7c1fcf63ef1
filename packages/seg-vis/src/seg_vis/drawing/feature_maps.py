"""Feature maps and depth maps as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_vis.arrays import Image, no_nan, to_numpy, to_rgb
from seg_vis.checks import check_alpha, check_whole
from seg_vis.drawing.maps import ramp
from seg_vis.libraries import load_cv2

__all__ = ["depth_map", "feature_map"]

Plane = NDArray[np.float32]


def feature_map(
    featmap: ArrayLike,
    overlaid_image: ArrayLike | None = None,
    channel_reduction: str | None = "squeeze_mean",
    topk: int = 20,
    arrangement: tuple[int, int] = (4, 5),
    resize_shape: tuple[int, int] | None = None,
    alpha: float = 0.5,
) -> Image:
    """Draw what a layer gives: each plane stretched from its least to its greatest value, blue to red.

    Args:
        featmap: C x H x W, array or tensor.
        overlaid_image: an image to mix with; planes are resized to it.
        channel_reduction: `"squeeze_mean"` (mean of the channels), `"select_max"` (the channel with the largest
            sum) or None.
        topk: with None, how many channels to show in a grid, those with the largest sums first; 0 or less: the
            map has one or three channels and is shown as it is.
        arrangement: rows and columns of the grid.
        resize_shape: height and width of each plane, where there is no image.
        alpha: weight of the colours over the image.

    Raises:
        ValueError: another shape, NaN, a reduction that is not known, or a grid that is too small.

    Example:
        >>> import numpy as np
        >>> feature_map(np.random.default_rng(0).random((8, 4, 6)), resize_shape=(8, 12)).shape
        (8, 12, 3)
    """
    planes = checked(featmap, "featmap")
    image = None if overlaid_image is None else to_rgb(overlaid_image)
    size = image.shape[:2] if image is not None else resize_shape
    size = None if size is None else check_pair(size, "resize_shape")
    arrangement, topk, alpha = check_pair(arrangement, "arrangement"), check_whole(topk, "topk", -1), check_alpha(alpha)
    if channel_reduction is not None:
        return tinted(resized(reduced(planes, channel_reduction)[None], size)[0], image, alpha)
    if topk <= 0:
        if len(planes) not in (1, 3):
            raise ValueError(f"with topk <= 0 featmap must have 1 or 3 channels, got {len(planes)}")
        whole = resized(planes, size)
        return tinted(whole[0] if len(whole) == 1 else whole.transpose(1, 2, 0), image, alpha)
    best = np.argsort(-planes.sum(axis=(1, 2)), kind="stable")[:topk]
    return grid(resized(planes[best], size), image, arrangement, alpha)


def check_pair(value: Sequence[int], name: str) -> tuple[int, int]:
    """Return two sides, or rows and columns.

    Raises:
        TypeError: something that is no whole number.
        ValueError: other than two of them, or less than 1.
    """
    if np.shape(value) != (2,):
        raise ValueError(f"{name} must be two whole numbers, got {value!r}")
    first, second = (check_whole(each, name, 1, 2**16) for each in value)
    return first, second


def checked(featmap: ArrayLike, name: str) -> Plane:
    """Return C x H x W numbers, if there is no NaN."""
    planes = to_numpy(featmap, name)
    if planes.ndim != 3 or not planes.size:
        raise ValueError(f"{name} must be C x H x W, got shape {planes.shape}")
    no_nan(planes, name)
    return planes.astype(np.float32)


def resized(planes: Plane, size: tuple[int, int] | None) -> Plane:
    """Return each plane in another size, between pixel centres (as torch does with `align_corners=False`)."""
    if size is None or planes.shape[1:] == tuple(size):
        return planes
    cv2 = load_cv2()
    return np.stack([cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for plane in planes])


def reduced(planes: Plane, how: str) -> Plane:
    """Return one plane out of many."""
    if how == "squeeze_mean":
        mean: Plane = planes.mean(axis=0)
        return mean
    if how == "select_max":
        greatest: Plane = planes[int(planes.sum(axis=(1, 2)).argmax())]
        return greatest
    raise ValueError(f"channel_reduction must be 'squeeze_mean', 'select_max' or None, got {how!r}")


def tinted(plane: Plane, image: Image | None, alpha: float) -> Image:
    """Draw values from least to greatest as colours, over an image where there is one."""
    cv2 = load_cv2()
    spread = float(plane.max() - plane.min()) or 1.0
    codes = ((plane - plane.min()) / spread * 255).astype(np.uint8)
    colours: Image = ramp("JET")[codes] if codes.ndim == 2 else codes
    if image is None:
        return colours
    mixed: Image = cv2.addWeighted(image, 1.0 - alpha, colours, alpha, 0.0)
    return mixed


def grid(planes: Plane, image: Image | None, arrangement: tuple[int, int], alpha: float) -> Image:
    """Put planes side by side, in rows."""
    (rows, columns), count = arrangement, len(planes)
    if rows * columns < count:
        raise ValueError(f"an arrangement of {rows} x {columns} has no room for {count} channels")
    height, width = planes.shape[1:]
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for place, plane in enumerate(planes):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = tinted(plane, image, alpha)
    return sheet


def depth_map(depth: ArrayLike, size: tuple[int, int]) -> Image:
    """Draw a depth map (H x W or 1 x H x W), near blue and far red, in the given height and width."""
    plane = to_numpy(depth, "depth map")
    return feature_map(checked(plane[None] if plane.ndim == 2 else plane, "depth map"), resize_shape=size)
