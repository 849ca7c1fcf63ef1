"""Where a class name goes: the anchor of each class, and boxes that stay inside and do not hide one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from seg_vis.libraries import load_cv2

__all__ = ["Box", "anchors", "place"]

FEW = 40
Box = tuple[int, int, int, int]


def anchors(codes: NDArray[np.uint8], wanted: Iterable[int]) -> dict[int, tuple[int, int]]:
    """For each wanted label: x and y of a point in the row that has most of it (the first, where several do).

    x is the middle one of the row's columns with that label: the place where MMSegmentation writes the name.

    Example:
        >>> import numpy as np
        >>> codes = np.array([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]], np.uint8)
        >>> anchors(codes, [1])
        {1: (2, 1)}
    """
    labels = list(wanted)
    rows = fullest_rows(codes, labels)
    found = {}
    for label, row in zip(labels, rows, strict=True):
        columns = np.flatnonzero(codes[row] == label)
        if len(columns):
            found[label] = (int(columns[len(columns) // 2]), row)
    return found


def fullest_rows(codes: NDArray[np.uint8], labels: list[int]) -> list[int]:
    """The row with most pixels of each label: class by class for a few, else one histogram a row."""
    cv2 = load_cv2()
    if len(labels) <= FEW:
        planes = ((codes == label).view(np.uint8) for label in labels)
        return [int(cv2.reduce(plane, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).argmax()) for plane in planes]
    counts = np.stack([cv2.calcHist([row[None]], [0], None, [256], [0, 256]).ravel() for row in codes])
    best = counts.argmax(axis=0)
    return [int(best[label]) for label in labels]


def place(
    sizes: Sequence[tuple[int, int]], points: Sequence[tuple[int, int]], width: int, height: int
) -> list[Box | None]:
    """A box (x, y, width, height) for each size, its corner at the point or as near to it as there is room.

    Boxes lie inside the picture and do not overlap; one that fits nowhere is None. Those that come first keep
    their place.

    Example:
        >>> place([(4, 2), (4, 2)], [(8, 0), (7, 0)], width=10, height=6)
        [(6, 0, 4, 2), (6, 2, 4, 2)]
    """
    taken: list[Box] = []
    boxes: list[Box | None] = []
    for (box_width, box_height), (x, y) in zip(sizes, points, strict=True):
        corner = free_corner(taken, (box_width, box_height), (x, y), width, height)
        box = (*corner, box_width, box_height) if corner is not None else None
        boxes.append(box)
        if box is not None:
            taken.append(box)
    return boxes


def free_corner(
    taken: list[Box], size: tuple[int, int], point: tuple[int, int], width: int, height: int
) -> tuple[int, int] | None:
    """The free corner nearest to a point; candidates are the borders of the boxes that lie there already."""
    right, bottom = width - size[0], height - size[1]
    if right < 0 or bottom < 0:
        return None
    x, y = min(max(point[0], 0), right), min(max(point[1], 0), bottom)
    if not taken:
        return x, y
    others = np.array(taken)
    xs = np.concatenate([[x, 0, right], others[:, 0] - size[0], others[:, 0] + others[:, 2]])
    ys = np.concatenate([[y, 0, bottom], others[:, 1] - size[1], others[:, 1] + others[:, 3]])
    grid_x, grid_y = (axis.ravel() for axis in np.meshgrid(np.clip(xs, 0, right), np.clip(ys, 0, bottom)))
    free = ~overlaps(grid_x[:, None], grid_y[:, None], size, others).any(axis=1)
    if not free.any():
        return None
    distance = np.where(free, np.hypot(grid_x - x, grid_y - y), np.inf)
    best = int(distance.argmin())
    return int(grid_x[best]), int(grid_y[best])


def overlaps(
    x: NDArray[np.int_], y: NDArray[np.int_], size: tuple[int, int], others: NDArray[np.int_]
) -> NDArray[np.bool_]:
    """Candidates x boxes: whether a box of this size at (x, y) covers part of the other."""
    apart_x = (x + size[0] <= others[:, 0]) | (x >= others[:, 0] + others[:, 2])
    apart_y = (y + size[1] <= others[:, 1]) | (y >= others[:, 1] + others[:, 3])
    return ~(apart_x | apart_y)
