"""MMSegmentation's picture, bit for bit, for those who compare with pictures made by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_vis.arrays import Image, Labels
from seg_vis.drawing.palettes import Palette
from seg_vis.libraries import load_cv2

__all__ = ["legacy_paint"]


def legacy_paint(rgb: Image, plane: Labels, colours: Palette, alpha: float, names: Sequence[str] | None) -> Image:
    """Blend over a black ground, truncated, with ignored pixels darkened and names under the blend.

    Args:
        rgb: H x W x 3 uint8.
        plane: H x W labels; those from `len(colours)` on are black, negative ones count from the end.
        colours: N x 3 uint8.
        alpha: weight of the colours.
        names: names to write, or None.
    """
    found = [int(label) for label in np.unique(plane)[::-1] if label < len(colours)]
    mask = np.zeros(rgb.shape, np.uint8)
    for label in found:
        mask[plane == label] = colours[label]
    for label in found if names is not None else []:
        write_name(mask, names[label], anchor(plane, label), [int(c) for c in colours[label]])  # type: ignore[index]
    mixed: Image = (rgb * (1 - alpha) + mask * alpha).astype(np.uint8)
    return mixed


def anchor(plane: NDArray[Any], label: int) -> tuple[int, int]:
    """Return the middle of the row with most of a label."""
    there = plane == label
    row = int(there.sum(axis=1).argmax())
    columns = np.flatnonzero(there[row])
    return int(columns[len(columns) // 2]), row


def write_name(mask: Image, name: str, corner: tuple[int, int], colour: list[int]) -> None:
    """Write a name on a box whose top left is the anchor, wherever that is."""
    cv2 = load_cv2()
    height, width = mask.shape[:2]
    thick = 1 if min(height, width) < 300 else 2
    scale = min(height, width) / 500
    font = cv2.FONT_HERSHEY_SIMPLEX
    (text_width, text_height), below = cv2.getTextSize(name, font, scale, thick)
    x, y = corner
    end = (x + text_width + below, y + text_height + below)
    cv2.rectangle(mask, corner, end, colour, cv2.FILLED)
    cv2.rectangle(mask, corner, end, (0, 0, 0), thick)
    cv2.putText(mask, name, (x, y + text_height), font, scale, (255, 255, 255), thick, 2)
