"""Label maps out of files: grey values, or the colours of a palette."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_vis.arrays import Labels
from seg_vis.drawing.palettes import Palette, get_palette
from seg_vis.files import read_image

__all__ = ["labels_from_colours", "read_mask"]

MOST = 255
"""Labels of a byte, one of which is left for pixels without a label."""


def read_mask(path: str | Path, palette: object = None, ignore_index: int | None = 255) -> Labels:
    """Return a label map from an image file: its grey values, or the labels whose colours the palette has.

    Raises:
        ValueError: no image, or colours and no palette that has them.
        OSError: it cannot be read.
    """
    stored: NDArray[Any] = read_image(path, raw=True)
    if stored.ndim == 2:
        return stored
    colours = stored[..., 2::-1]
    if (colours == colours[..., :1]).all():
        return np.ascontiguousarray(colours[..., 0])
    if palette is None or stored.dtype != np.uint8:
        raise ValueError(f"{path} is a picture in colour: say which palette its labels have")
    return labels_from_colours(colours, get_palette(palette, MOST), MOST if ignore_index is None else ignore_index)


def labels_from_colours(picture: NDArray[np.uint8], palette: Palette, other: int = 255) -> Labels:
    """Return labels of an H x W x 3 RGB picture; pixels in none of the palette's colours become `other`.

    Raises:
        ValueError: fewer than half of the pixels have a colour of the palette.

    Example:
        >>> red, blue = [255, 0, 0], [0, 0, 255]
        >>> labels_from_colours(np.array([[red, blue, red]], np.uint8), np.array([blue, red], np.uint8)).tolist()
        [[1, 0, 1]]
    """
    key = picture.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    known = palette.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], key).clip(max=len(known) - 1)
    label = order[place]
    unknown = known[label] != key
    if unknown.mean() > 0.5:
        raise ValueError(f"{unknown.mean():.0%} of the mask's pixels have no colour of the palette: is it another one?")
    if unknown.any():
        warnings.warn(f"{int(unknown.sum())} pixels have no colour of the palette and no label", stacklevel=2)
    return np.where(unknown, other, label)
