"""Several pictures side by side: with titles, in columns, and the four that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seg_vis.arrays import Image, as_labels, check_same_size, to_rgb
from seg_vis.checks import check_flag, check_whole
from seg_vis.drawing.legends import legend
from seg_vis.drawing.maps import error_map
from seg_vis.drawing.overlays import overlay
from seg_vis.drawing.text import draw_text, font_size, shortened, text_size
from seg_vis.libraries import load_cv2

__all__ = ["columns_for", "compare", "magnified", "panels", "reduced", "with_legend"]

GAP = 4
PAPER = 255
SMALLEST = 8
ENOUGH, MOST = 192, 2048
"""Pictures smaller than half of the first number of pixels are enlarged, longer ones than the second reduced."""
"""Pixels that the longer side of a picture on a sheet should have, and has at most."""
TITLE_ROOM = 96
"""Titles of smaller pictures than this may be wider than they are."""


def panels(
    pictures: Mapping[str, Any] | Sequence[Any],
    *,
    columns: int | None = None,
    gap: int = GAP,
    font: str = "sans",
) -> Image:
    """Put pictures on one sheet, left to right, in rows of `columns` (all in one row without it).

    Pictures of other sizes than the first keep theirs; the sheet is as large as the largest needs.

    Args:
        pictures: arrays or tensors in any form that `to_rgb` takes; a dict gives each a title.
        columns: pictures in a row.
        gap: white pixels between them.
        font: the font of the titles, `"sans"` or the path of a font file.

    Raises:
        ValueError: no picture, fewer than one column, or a negative gap.

    Example:
        >>> import numpy as np
        >>> panels([np.zeros((4, 6)), np.ones((4, 6))], gap=2).shape
        (4, 14, 3)
    """
    if not isinstance(pictures, Mapping | Sequence) or isinstance(pictures, str):
        raise TypeError(f"panels takes several pictures, in a list or a dict, got one {type(pictures).__name__}")
    named = list(pictures.items()) if isinstance(pictures, Mapping) else [("", picture) for picture in pictures]
    if not named:
        raise ValueError("panels needs one picture at least")
    per_row = min(len(named) if columns is None else check_whole(columns, "columns"), len(named))
    gap = check_whole(gap, "gap", 0, 10_000)
    cells = with_titles([str(title) for title, _ in named], [to_rgb(picture) for _, picture in named], font)
    rows = [cells[start : start + per_row] for start in range(0, len(cells), per_row)]
    widths = [max(row[i].shape[1] for row in rows if i < len(row)) for i in range(per_row)]
    return stack([stack([pad(cell, width) for cell, width in zip(r, widths, strict=False)], gap, 1) for r in rows], gap)


def with_titles(titles: Sequence[str], pictures: Sequence[Image], font: str) -> list[Image]:
    """Put each picture under a white strip with its title, all of one height; none where no title is given."""
    if not any(titles):
        return list(pictures)
    size = font_size(*pictures[0].shape[:2])
    rooms = [max(picture.shape[1], TITLE_ROOM) - 4 for picture in pictures]
    while size > SMALLEST and any(text_size(t, size, font)[0] > room for t, room in zip(titles, rooms, strict=True)):
        size -= 1
    words = [shortened(title, size, room, font) for title, room in zip(titles, rooms, strict=True)]
    height = max(text_size(word, size, font)[1] for word in words) + 4
    return [titled(picture, word, size, height, font) for picture, word in zip(pictures, words, strict=True)]


def titled(picture: Image, title: str, size: int, height: int, font: str) -> Image:
    """Put a picture under a strip with its title in the middle; white on its right where the title needs room."""
    across = text_size(title, size, font)[0]
    strip = np.full((height, max(picture.shape[1], across + 4), 3), PAPER, np.uint8)
    draw_text(strip, title, (max(2, (picture.shape[1] - across) // 2), 1), size, (0, 0, 0), font)
    return np.concatenate([strip, pad(picture, strip.shape[1])])


def pad(picture: Image, width: int = 0, height: int = 0) -> Image:
    """Add white on the right and below, up to a size."""
    below, right = max(0, height - picture.shape[0]), max(0, width - picture.shape[1])
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=PAPER) if below or right else picture


def stack(pictures: Sequence[Image], gap: int, axis: int = 0) -> Image:
    """Put pictures one under another (axis 0) or side by side (axis 1), white between them."""
    across = max(picture.shape[1 - axis] for picture in pictures)
    even = [pad(picture, across, 0) if axis == 0 else pad(picture, 0, across) for picture in pictures]
    cv2 = load_cv2()
    spaced = [even[0]]
    for picture in even[1:]:
        space = np.full((gap, across, 3) if axis == 0 else (across, gap, 3), PAPER, np.uint8)
        spaced += [space, picture]
    joined: Image = cv2.vconcat(spaced) if axis == 0 else cv2.hconcat(spaced)
    return joined


def magnified(shape: tuple[int, ...]) -> int:
    """Return by which whole number small pictures of this height and width are enlarged to be seen."""
    return max(1, -(-ENOUGH // max(shape[:2]))) if max(shape[:2]) < ENOUGH // 2 else 1


def columns_for(pictures: Sequence[Image]) -> int:
    """Return how many pictures are in a row: all, or two where that would be much wider than high."""
    height, width = pictures[0].shape[:2]
    wide = width > 1.4 * height or len(pictures) * width > 2 * MOST
    return 2 if wide and len(pictures) > 2 else len(pictures)


def reduced(picture: Image) -> Image:
    """Return a picture whose longer side is at most `MOST` pixels."""
    scale = MOST / max(picture.shape[:2])
    if scale >= 1:
        return picture
    cv2 = load_cv2()
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    smaller: Image = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return smaller


def with_legend(
    sheet: Image, palette: object, names: Sequence[str], labels: Sequence[int], font: str = "sans"
) -> Image:
    """Put a legend of some labels under a sheet, in as many columns as fit; names too long end in dots."""
    if not labels:
        return sheet
    size = int(np.clip(font_size(*sheet.shape[:2]) * 2 // 3, 11, 24))
    room = max(sheet.shape[1] - 4 * size, 4 * size)
    words = [shortened(name, size, room, font) for name in names]
    widest = max(text_size(words[label], size, font)[0] for label in labels) + 4 * size
    columns = max(1, min(len(labels), sheet.shape[1] // widest))
    below = legend(palette, words, labels=np.array([labels]), columns=columns, size=size, font=font)
    return stack([sheet, below], GAP)


def compare(
    image: ArrayLike,
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    palette: object,
    classes: Sequence[str] | None = None,
    alpha: float = 0.5,
    ignore_index: int | None = 255,
    titles: bool = True,
) -> Image:
    """Draw image, ground truth, prediction and errors side by side.

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
    check_same_size(rgb, true, "truth")
    check_same_size(rgb, guess, "prediction")

    def painted(labels: ArrayLike) -> Image:
        return overlay(rgb, labels, palette=palette, classes=classes, alpha=alpha, ignore_index=ignore_index)

    named = {
        "image": rgb,
        "ground truth": painted(true),
        "prediction": painted(guess),
        "errors": error_map(rgb, true, guess, ignore_index=ignore_index),
    }
    return panels(named if check_flag(titles, "titles") else list(named.values()))
