"""Where a class name goes: the anchor of each class, and boxes that stay inside and do not hide one another."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from seg_vis.libraries import load_cv2

__all__ = ["Box", "anchors", "place"]

FEW = 24
"""Up to so many labels are looked for one by one; more cost less in one histogram of rows and labels."""
STEPS = 60
"""So many steps round boxes in the way; then all free places are searched."""
Box = tuple[int, int, int, int]


def anchors(codes: NDArray[np.uint8], wanted: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return, for each wanted label, x and y of a point in the row that has most of it (the first of several).

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
    """Return the row with most pixels of each label: label by label for a few, else from one histogram."""
    cv2 = load_cv2()
    if len(labels) <= FEW:
        planes = ((codes == label).view(np.uint8) for label in labels)
        return [int(cv2.reduce(plane, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).argmax()) for plane in planes]
    best = row_counts(codes).argmax(axis=0)
    return [int(best[label]) for label in labels]


def row_counts(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how many pixels of each row have each of 256 labels; a byte counts rows, so 256 at a time."""
    numbers = np.repeat(np.arange(256, dtype=np.uint8), codes.shape[1]).reshape(256, -1)
    parts = (codes[top : top + 256] for top in range(0, len(codes), 256))
    tables = [
        load_cv2().calcHist([numbers[: len(part)], part], [0, 1], None, [256, 256], [0, 256, 0, 256])[: len(part)]
        for part in parts
    ]
    return np.concatenate(tables)


def place(
    sizes: Sequence[tuple[int, int]], points: Sequence[tuple[int, int]], width: int, height: int
) -> list[Box | None]:
    """Return a box (x, y, width, height) for each size, its corner at the point or as near as there is room.

    Boxes lie inside the picture and do not overlap; one that fits nowhere is None. Those that come first keep
    their place.

    Example:
        >>> place([(4, 2), (4, 2)], [(8, 0), (7, 0)], width=10, height=6)
        [(6, 0, 4, 2), (6, 2, 4, 2)]
    """
    taken: list[Box] = []
    boxes: list[Box | None] = []
    for size, point in zip(sizes, points, strict=True):
        room = width - size[0], height - size[1]
        box = (min(max(point[0], 0), room[0]), min(max(point[1], 0), room[1]), *size)
        found = box if min(room) >= 0 and not in_the_way(taken, box) else None
        if found is None and min(room) >= 0:
            found = moved_aside(taken, box, room) or nearest_free(taken, box, room)
        boxes.append(found)
        taken += [] if found is None else [found]
    return boxes


def in_the_way(taken: list[Box], box: Box) -> list[Box]:
    """Return the boxes that share a pixel with this one."""
    left, top, width, height = box
    right, below = left + width, top + height
    return [(x, y, w, h) for x, y, w, h in taken if left < x + w and x < right and top < y + h and y < below]


def moved_aside(taken: list[Box], box: Box, room: tuple[int, int]) -> Box | None:
    """Return a free place, found by stepping round the boxes that are in the way, the nearest step first."""
    x, y, width, height = box
    steps, tried = [(0, x, y)], {(x, y)}
    for _ in range(STEPS):
        if not steps:
            break
        _, left, top = heapq.heappop(steps)
        moved = left, top, width, height
        blockers = in_the_way(taken, moved)
        if not blockers:
            return moved
        for bx, by, across, down in blockers:
            for corner in ((left, by - height), (left, by + down), (bx - width, top), (bx + across, top)):
                if corner not in tried and 0 <= corner[0] <= room[0] and 0 <= corner[1] <= room[1]:
                    tried.add(corner)
                    heapq.heappush(steps, (abs(corner[0] - x) + abs(corner[1] - y), *corner))
    return None


def nearest_free(taken: list[Box], box: Box, room: tuple[int, int]) -> Box | None:
    """Return the free place nearest to a box; beside the boxes round about first, then beside any."""
    others = np.array(taken)
    x, y, width, height = box
    nearest = np.argsort(np.hypot(others[:, 0] - x, others[:, 1] - y), kind="stable")
    for count in (6, 24, len(taken)):
        near = others[nearest[:count]]
        xs = np.concatenate([[x, 0, room[0]], near[:, 0] - width, near[:, 0] + near[:, 2]])
        ys = np.concatenate([[y, 0, room[1]], near[:, 1] - height, near[:, 1] + near[:, 3]])
        xs, ys = xs[(xs >= 0) & (xs <= room[0])], ys[(ys >= 0) & (ys <= room[1])]
        grid_x, grid_y = np.repeat(xs, len(ys)), np.tile(ys, len(xs))
        free = ~overlaps(grid_x[:, None], grid_y[:, None], (width, height), others).any(axis=1)
        if free.any():
            best = int(np.where(free, np.hypot(grid_x - x, grid_y - y), np.inf).argmin())
            return int(grid_x[best]), int(grid_y[best]), width, height
    return None


def overlaps(
    x: NDArray[np.int_], y: NDArray[np.int_], size: tuple[int, int], others: NDArray[np.int_]
) -> NDArray[np.bool_]:
    """Tell, for candidates x boxes, whether a box of this size at (x, y) covers part of the other."""
    apart_x = (x + size[0] <= others[:, 0]) | (x >= others[:, 0] + others[:, 2])
    apart_y = (y + size[1] <= others[:, 1]) | (y >= others[:, 1] + others[:, 3])
    return ~(apart_x | apart_y)
