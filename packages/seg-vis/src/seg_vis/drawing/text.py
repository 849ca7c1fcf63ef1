"""Text in any language that OpenCV's fonts know (Latin, Cyrillic, Greek, Hebrew, Chinese, Japanese, Korean and more).

Arabic is written in its reading order, but its letters are not joined: OpenCV shapes no text. For what its fonts lack
(Devanagari, Thai, ...) an installed font is taken.
"""

from __future__ import annotations

import unicodedata
import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seg_vis.arrays import Image
from seg_vis.drawing.fonts import extent, font_with, has_fonts, lacking, put, spelled_plainly
from seg_vis.drawing.reading_order import visual_order
from seg_vis.libraries import load_cv2

__all__ = ["draw_text", "font_size", "readable_on", "shortened", "tag_size", "text_size", "write_tag"]

DOTS = "..."
FEWEST = 3
"""A text cut to fewer letters says nothing."""
INSTALL_FONT = """\
no font here has the letters {letters!r} of {text!r}, question marks stand for them: install one \
(Debian, Ubuntu: apt-get install fontconfig fonts-noto-core) or give font= the path of one"""
INSTALL_OPENCV = """\
OpenCV {version} has ASCII letters only, question marks stand for {letters!r} of {text!r}: OpenCV 5 has fonts \
(pip install "opencv-python>=5")"""


@lru_cache(4096)
def prepared(text: str, font: str) -> tuple[str, str]:
    """Return a text as one line in the order in which it is drawn, and a font that has its letters."""
    line = "".join(letter for letter in " ".join(text.split()) if unicodedata.category(letter) not in ("Cc", "Cf"))
    letters = lacking(line, font)
    other = font_with(letters) if letters else None
    if letters and other is None:
        words = INSTALL_FONT if has_fonts() else INSTALL_OPENCV
        told = words.format(letters=letters, text=text, version=load_cv2().__version__)
        warnings.warn(told, UserWarning, stacklevel=6)
    return visual_order(line) if has_fonts() else spelled_plainly(line), other or font


def font_size(height: int, width: int) -> int:
    """Return the height of capital letters and what hangs over, in pixels, that suits a picture of this size."""
    return int(np.clip(round(min(height, width) / 40), 11, 48))


@lru_cache(4096)
def text_size(text: str, size: int, font: str = "sans") -> tuple[int, int]:
    """Return width and height in pixels of one line; the height is the font size's, or more for deep letters."""
    line, face = prepared(text, font)
    right, below = extent(line, size, face)
    return right, max(-(-size * 5 // 4), below)


def shortened(text: str, size: int, width: int, font: str = "sans") -> str:
    """Return the text, or its beginning with dots as far as there is room; empty where that is next to nothing."""
    if text_size(text, size, font)[0] <= width:
        return text
    short, long = 0, len(text)
    while long - short > 1:  # the longest beginning that fits
        middle = (short + long) // 2
        fits = text_size(text[:middle].rstrip() + DOTS, size, font)[0] <= width
        short, long = (middle, long) if fits else (short, middle)
    return text[:short].rstrip() + DOTS if short >= FEWEST else ""


def draw_text(
    image: Image, text: str, corner: tuple[int, int], size: int, colour: tuple[int, int, int], font: str = "sans"
) -> None:
    """Write one line into the picture, its top left at `corner`."""
    x, y = corner
    line, face = prepared(text, font)
    put(image, line, (x, y + size), size, colour, face)


def readable_on(colour: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Return black or white, whichever stands out from a background colour (ITU-R BT.601 brightness)."""
    red, green, blue = colour.tolist()
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def tag_margin(size: int) -> int:
    """Return how many pixels are left and right of a name on its box."""
    return max(2, size // 5)


def tag_size(text: str, size: int, font: str = "sans") -> tuple[int, int]:
    """Return width and height of a tag: the text and a margin round it."""
    width, height = text_size(text, size, font)
    return width + 2 * tag_margin(size), height + tag_margin(size)


def write_tag(
    image: Image,
    text: str,
    box: tuple[int, int, int, int],
    size: int,
    colour: NDArray[np.uint8],
    font: str = "sans",
) -> None:
    """Write a name on a box of its class's colour."""
    cv2 = load_cv2()
    x, y, width, height = box
    margin = tag_margin(size)
    cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), [int(c) for c in colour], cv2.FILLED)
    cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), (0, 0, 0), 1)
    draw_text(image, text, (x + margin, y + margin // 2), size, readable_on(colour), font)
