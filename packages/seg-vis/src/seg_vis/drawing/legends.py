"""A legend: the colour and the name of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from seg_vis.arrays import Image, as_labels
from seg_vis.checks import check_whole
from seg_vis.drawing.overlays import class_names
from seg_vis.drawing.palettes import resolve
from seg_vis.drawing.text import draw_text, text_size
from seg_vis.libraries import load_cv2

__all__ = ["legend"]


def legend(
    palette: object,
    classes: Sequence[str] | None = None,
    *,
    labels: ArrayLike | None = None,
    columns: int = 1,
    size: int = 16,
    font: str = "sans",
) -> Image:
    """Draw colour and name of each class, on white.

    Args:
        palette: as for `overlay`.
        classes: as for `overlay`.
        labels: a label map: only the classes that are in it are listed.
        columns: how many columns; filled from top to bottom.
        size: height of the letters in pixels.
        font: `"sans"` or the path of a font file.

    Returns:
        A picture as large as its contents.

    Raises:
        ValueError: classes and colours of different number, or fewer than one column.

    Example:
        >>> legend("loveda", columns=2).shape[2]
        3
    """
    columns, size = check_whole(columns, "columns"), check_whole(size, "size", 6, 1000)
    plane = None if labels is None else as_labels(labels)
    colours = resolve(palette, classes)
    names = class_names(palette, classes, len(colours))
    listed = [i for i in range(len(colours)) if plane is None or (plane == i).any()]
    rows = max(1, -(-len(listed) // columns))
    step = size * 3 // 2
    cells = [listed[start : start + rows] for start in range(0, len(listed), rows)]
    widths = [max(text_size(names[i], size, font)[0] for i in cell) + 2 * step + size for cell in cells]
    sheet = np.full((rows * step + size // 2, sum(widths) or step, 3), 255, np.uint8)
    for left, cell in zip(np.cumsum([0, *widths]), cells, strict=False):
        for row, i in enumerate(cell):
            corner = (int(left) + size // 4, row * step + size // 4)
            write_entry(sheet, corner, (step, step - 4), [int(c) for c in colours[i]])
            draw_text(sheet, names[i], (corner[0] + step + size // 2, corner[1] + 1), size, (0, 0, 0), font)
    return sheet


def write_entry(sheet: Image, corner: tuple[int, int], extent: tuple[int, int], colour: list[int]) -> None:
    """Draw one field of colour with a thin border, and its name."""
    cv2 = load_cv2()
    end = (corner[0] + extent[0] - 1, corner[1] + extent[1] - 1)
    cv2.rectangle(sheet, corner, end, colour, cv2.FILLED)
    cv2.rectangle(sheet, corner, end, (0, 0, 0), 1)
