"""Several pictures side by side: with titles, in columns, and the four that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seg_vis.arrays import Image, as_labels, to_rgb
from seg_vis.libraries import load_cv2
from seg_vis.maps import error_map
from seg_vis.overlays import overlay
from seg_vis.text import draw_text, font_size, text_size

__all__ = ["compare", "panels"]

GAP = 4
PAPER = 255


def panels(
    pictures: Mapping[str, Any] | Sequence[Any],
    *,
    columns: int | None = None,
    gap: int = GAP,
) -> Image:
    """One sheet with all pictures, left to right, in rows of `columns` (all in one row without it).

    Pictures of other sizes than the first keep theirs; the sheet is as large as the largest needs.

    Args:
        pictures: arrays or tensors in any form that `to_rgb` takes; a dict gives each a title.
        columns: pictures in a row.
        gap: white pixels between them.

    Raises:
        ValueError: no picture, or fewer than one column.

    Example:
        >>> import numpy as np
        >>> panels([np.zeros((4, 6)), np.ones((4, 6))], gap=2).shape
        (4, 14, 3)
    """
    named = list(pictures.items()) if isinstance(pictures, Mapping) else [("", picture) for picture in pictures]
    if not named or (columns is not None and columns < 1):
        raise ValueError(f"panels needs a picture and a column at least, got {len(named)} pictures, columns={columns}")
    cells = [titled(to_rgb(picture), title) for title, picture in named]
    per_row = min(columns or len(cells), len(cells))
    rows = [cells[start : start + per_row] for start in range(0, len(cells), per_row)]
    widths = [max(row[i].shape[1] for row in rows if i < len(row)) for i in range(per_row)]
    return stack([stack([pad(cell, width) for cell, width in zip(r, widths, strict=False)], gap, 1) for r in rows], gap)


def titled(picture: Image, title: str) -> Image:
    """The picture under a white strip with its title; no strip without a title."""
    if not title:
        return picture
    height, width = picture.shape[:2]
    size = font_size(height, width)
    while size > 6 and text_size(title, size)[0] > width - 4:
        size -= 1
    strip = np.full((text_size(title, size)[1] + 4, width, 3), PAPER, np.uint8)
    draw_text(strip, title, (max(2, (width - text_size(title, size)[0]) // 2), 1), size, (0, 0, 0))
    return np.concatenate([strip, picture])


def pad(picture: Image, width: int = 0, height: int = 0) -> Image:
    """White on the right and below, up to a size."""
    below, right = max(0, height - picture.shape[0]), max(0, width - picture.shape[1])
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=PAPER) if below or right else picture


def stack(pictures: Sequence[Image], gap: int, axis: int = 0) -> Image:
    """Pictures one under another (axis 0) or side by side (axis 1), white between them."""
    across = max(picture.shape[1 - axis] for picture in pictures)
    even = [pad(picture, across, 0) if axis == 0 else pad(picture, 0, across) for picture in pictures]
    cv2 = load_cv2()
    spaced = [even[0]]
    for picture in even[1:]:
        space = np.full((gap, across, 3) if axis == 0 else (across, gap, 3), PAPER, np.uint8)
        spaced += [space, picture]
    joined: Image = cv2.vconcat(spaced) if axis == 0 else cv2.hconcat(spaced)
    return joined


def compare(
    image: Any,
    truth: Any,
    prediction: Any,
    *,
    palette: Any,
    classes: Sequence[str] | None = None,
    alpha: float = 0.5,
    ignore_index: int | None = 255,
    titles: bool = True,
) -> Image:
    """Image, ground truth, prediction and errors side by side.

    Args:
        image: any form that `to_rgb` takes; RGB.
        truth: H x W labels.
        prediction: H x W labels.
        palette: as for `overlay`.
        classes: as for `overlay`.
        alpha: weight of the colours.
        ignore_index: the label of `truth` that means "no label"; such pixels are neither right nor wrong.
        titles: write above each what it is.

    Raises:
        ValueError: sizes that differ, or what `overlay` refuses.

    Example:
        >>> import numpy as np
        >>> compare(np.zeros((4, 6)), np.ones((4, 6)), np.ones((4, 6)), palette="cityscapes", titles=False).shape
        (4, 36, 3)
    """
    rgb, true, guess = to_rgb(image), as_labels(truth, "truth"), as_labels(prediction, "prediction")

    def painted(labels: Any) -> Image:
        return overlay(rgb, labels, palette=palette, classes=classes, alpha=alpha, ignore_index=ignore_index)

    named = {
        "image": rgb,
        "ground truth": painted(true),
        "prediction": painted(guess),
        "errors": error_map(rgb, true, guess, ignore_index=ignore_index),
    }
    return panels(named if titles else list(named.values()))
