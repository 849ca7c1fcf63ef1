"""Text in any language that OpenCV's fonts know (Latin, Cyrillic, Greek, Arabic, Hebrew, Chinese, Japanese, Korean)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_vis.arrays import Image
from seg_vis.libraries import load_cv2

__all__ = ["draw_text", "font_size", "readable_on", "tag_size", "text_size", "write_tag"]

WEIGHT = 500


@cache
def font_face(font: str) -> Any:
    """A font by the path of its file, or one of those that OpenCV brings: `sans`, `italic`, `uni`."""
    if font not in ("sans", "italic", "uni") and not Path(font).is_file():
        raise ValueError(f"font must be 'sans', 'italic', 'uni' or a font file, and {font!r} is no file")
    return load_cv2().FontFace(font)


def font_size(height: int, width: int) -> int:
    """Height of capital letters and what hangs over them, in pixels, that suits a picture of this size."""
    return int(np.clip(round(min(height, width) / 40), 11, 48))


def text_size(text: str, size: int, font: str = "sans") -> tuple[int, int]:
    """Width and height in pixels of one line; the height is that of the font size, or more for deep letters."""
    cv2 = load_cv2()
    box = cv2.getTextSize((1 << 15, 1 << 15), text, (0, size), font_face(font), size, WEIGHT)
    return max(0, box[0] + box[2]), max(-(-size * 5 // 4), box[1] + box[3])


def draw_text(
    image: Image, text: str, corner: tuple[int, int], size: int, colour: tuple[int, int, int], font: str = "sans"
) -> None:
    """Write one line into the picture, its top left at `corner`."""
    cv2 = load_cv2()
    x, y = corner
    wide = (0, 1 << 15)
    cv2.putText(image, text, (x, y + size), colour, font_face(font), size, WEIGHT, cv2.PUT_TEXT_ALIGN_LEFT, wide)


def readable_on(colour: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Black or white, whichever stands out from a background colour (ITU-R BT.601 brightness)."""
    bright = float(np.dot(colour.astype(np.float64), [0.299, 0.587, 0.114])) > 140
    return (0, 0, 0) if bright else (255, 255, 255)


def tag_size(text: str, size: int, font: str = "sans") -> tuple[int, int]:
    """Width and height of a tag: the text and a margin round it."""
    width, height = text_size(text, size, font)
    margin = max(2, size // 5)
    return width + 2 * margin, height + margin


def write_tag(
    image: Image,
    text: str,
    box: tuple[int, int, int, int],
    size: int,
    colour: NDArray[np.uint8],
    font: str = "sans",
) -> None:
    """A name on a box of its class's colour."""
    cv2 = load_cv2()
    x, y, width, height = box
    margin = max(2, size // 5)
    cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), [int(c) for c in colour], cv2.FILLED)
    cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), (0, 0, 0), 1)
    draw_text(image, text, (x + margin, y + margin // 2), size, readable_on(colour), font)
