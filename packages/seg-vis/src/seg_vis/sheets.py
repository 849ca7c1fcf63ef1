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
SMALLEST = 8


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
    cells = with_titles([title for title, _ in named], [to_rgb(picture) for _, picture in named])
    per_row = min(columns or len(cells), len(cells))
    rows = [cells[start : start + per_row] for start in range(0, len(cells), per_row)]
    widths = [max(row[i].shape[1] for row in rows if i < len(row)) for i in range(per_row)]
    return stack([stack([pad(cell, width) for cell, width in zip(r, widths, strict=False)], gap, 1) for r in rows], gap)


def with_titles(titles: Sequence[str], pictures: Sequence[Image]) -> list[Image]:
    """Each picture under a white strip with its title, all strips of one height; none where no title is given."""
    if not any(titles):
        return list(pictures)
    size = font_size(*pictures[0].shape[:2])
    widths = [picture.shape[1] - 4 for picture in pictures]
    while size > SMALLEST and any(text_size(t, size)[0] > w for t, w in zip(titles, widths, strict=True)):
        size -= 1
    height = max(text_size(title, size)[1] for title in titles) + 4
    return [
        titled(picture, shortened(t, size, w), size, height)
        for picture, t, w in zip(pictures, titles, widths, strict=True)
    ]


def shortened(text: str, size: int, width: int) -> str:
    """The text, or as much of its beginning as there is room for."""
    if text_size(text, size)[0] <= width:
        return text
    while text and text_size(text + "...", size)[0] > width:
        text = text[:-1]
    return text + "..." if text else ""


def titled(picture: Image, title: str, size: int, height: int) -> Image:
    """A picture under a strip with its title in the middle."""
    strip = np.full((height, picture.shape[1], 3), PAPER, np.uint8)
    left = max(2, (picture.shape[1] - text_size(title, size)[0]) // 2)
    draw_text(strip, title, (left, 1), size, (0, 0, 0))
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
