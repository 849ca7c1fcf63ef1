"""Pictures of one quantity a pixel: errors, confidence, depth, features, and outlines of the segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_vis.arrays import Image, as_labels, check_same_size, no_nan, to_numpy, to_rgb
from seg_vis.checks import check_alpha, check_label, check_whole
from seg_vis.drawing.blend import blend, shown_labels, warn_unknown_labels
from seg_vis.drawing.palettes import resolve
from seg_vis.libraries import load_cv2

__all__ = ["confidence_map", "contours", "error_map"]

RIGHT, WRONG, IGNORED = 0, 1, 2
ERROR_COLOURS = np.array([[255, 255, 255], [220, 20, 20], [60, 60, 60]], np.uint8)


def error_map(
    image: ArrayLike, truth: ArrayLike, prediction: ArrayLike, *, ignore_index: int | None = 255, alpha: float = 0.6
) -> Image:
    """Draw where prediction and ground truth differ: red over a faded grey image; pixels without a label dark.

    Args:
        image: any form that `to_rgb` takes, or None for a white ground.
        truth: H x W labels.
        prediction: H x W labels.
        ignore_index: the label of `truth` that is neither right nor wrong.
        alpha: how much of the picture is error colour.

    Raises:
        ValueError: sizes that differ, or what `overlay` refuses.

    Example:
        >>> error_map(None, [[0, 1, 255]], [[0, 0, 0]], alpha=1)[0].tolist()
        [[255, 255, 255], [220, 20, 20], [60, 60, 60]]
    """
    true, guess = as_labels(truth, "truth"), as_labels(prediction, "prediction")
    ground = np.full((*true.shape, 3), 255, np.uint8) if image is None else to_rgb(image)
    check_same_size(ground, true, "truth")
    check_same_size(ground, guess, "prediction")
    state = (true != guess).astype(np.uint8)
    ignored = check_label(ignore_index, "ignore_index")
    if ignored is not None:
        state[true == ignored] = IGNORED
    cv2 = load_cv2()
    grey = cv2.cvtColor(cv2.cvtColor(ground, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return blend(grey, state, ERROR_COLOURS, check_alpha(alpha))


def contours(
    image: ArrayLike,
    labels: ArrayLike,
    *,
    palette: object,
    classes: Sequence[str] | None = None,
    thickness: int = 2,
    ignore_index: int | None = 255,
    only: Sequence[int] | None = None,
) -> Image:
    """Draw the outline of every segment in the colour of its label; inside, the image is untouched.

    Args:
        image: any form that `to_rgb` takes; RGB.
        labels: H x W whole numbers.
        palette: as for `overlay`.
        classes: as for `overlay`.
        thickness: width of the line in pixels, all of it inside the segment.
        ignore_index: the label that means "no label".
        only: outline these labels only.

    Raises:
        ValueError: what `overlay` refuses, or a thickness below 1.

    Example:
        >>> import numpy as np
        >>> square = np.zeros((5, 5), np.uint8)
        >>> square[1:4, 1:4] = 1
        >>> contours(np.zeros((5, 5)), square, palette=[[0, 0, 0], [9, 9, 9]], thickness=1, only=[1])[..., 0][2]
        array([0, 9, 0, 9, 0], dtype=uint8)
    """
    rgb, plane = to_rgb(image), as_labels(labels)
    check_same_size(rgb, plane)
    thickness = check_whole(thickness, "thickness", 1, 255)
    colours = resolve(palette, classes)
    known = (plane >= 0) & (plane < len(colours))
    if not known.all():
        warn_unknown_labels(plane, len(colours), ignore_index)
    safe = np.where(known, plane, 0)
    drawn = known & shown_labels(len(colours), ignore_index, only)[safe] & on_border(plane, thickness)
    picture = rgb.copy()
    picture[drawn] = colours[safe[drawn]]
    return picture


def on_border(plane: NDArray[Any], thickness: int) -> NDArray[np.bool_]:
    """Tell which pixels have another label within `thickness` (the picture's edge is no border)."""
    edge = np.zeros(plane.shape, np.uint8)
    down, across = plane[1:] != plane[:-1], plane[:, 1:] != plane[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    if thickness > 1:
        cv2 = load_cv2()
        reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thickness - 1, 2 * thickness - 1))
        edge = cv2.dilate(edge, reach)
    return edge.astype(bool)


def confidence_map(image: ArrayLike, confidence: ArrayLike, *, alpha: float = 0.6) -> Image:
    """Draw how sure the model is, from dark violet (0) to yellow (1), over the image.

    Args:
        image: any form that `to_rgb` takes; RGB.
        confidence: H x W or 1 x H x W numbers from 0 to 1, such as the largest softmax probability.
        alpha: weight of the colours.

    Raises:
        ValueError: another size, NaN, or values outside 0 ... 1.

    Example:
        >>> import numpy as np
        >>> confidence_map(np.zeros((2, 2)), np.ones((2, 2)), alpha=1)[0, 0]
        array([253, 231,  37], dtype=uint8)
    """
    rgb, values = to_rgb(image), to_numpy(confidence, "confidence")
    values = values[0] if values.ndim == 3 and values.shape[0] == 1 else values
    if values.ndim != 2:
        raise ValueError(f"confidence must be H x W or 1 x H x W, got shape {values.shape}")
    no_nan(values, "confidence")
    check_same_size(rgb, values, "confidence")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {low:.4g} to {high:.4g}: take the softmax first")
    codes = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    return blend(rgb, codes, ramp("VIRIDIS"), check_alpha(alpha))


def ramp(name: str) -> NDArray[np.uint8]:
    """Return the 256 colours of an OpenCV colour map, RGB."""
    cv2 = load_cv2()
    steps = np.arange(256, dtype=np.uint8)[:, None]
    colours: NDArray[np.uint8] = cv2.applyColorMap(steps, getattr(cv2, f"COLORMAP_{name}"))[:, 0, ::-1]
    return np.ascontiguousarray(colours)
