"""The letters of one line: OpenCV 5 brings fonts and reads font files; OpenCV 4 has strokes for ASCII letters only."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from seg_vis.arrays import Image
from seg_vis.libraries import load_cv2

__all__ = ["extent", "font_with", "has_fonts", "lacking", "put", "spelled_plainly"]

WEIGHT = 500
"""Weight of the letters as fonts count it: 400 is regular, 700 bold."""
BUILT_IN = ("sans", "italic", "uni")
CAPITALS = 0.72
"""Height of a capital letter of strokes, in font sizes: as high as those of `sans`."""


def has_fonts() -> bool:
    """Tell whether this OpenCV draws with fonts (from 5.0 on)."""
    return hasattr(load_cv2(), "FontFace")


@cache
def font_face(font: str) -> Any:
    """Return a font by the path of its file, or one of those that OpenCV brings: `sans`, `italic`, `uni`."""
    cv2 = load_cv2()
    if font not in BUILT_IN and not Path(font).is_file():
        raise ValueError(f"font must be 'sans', 'italic', 'uni' or a font file, and {font!r} is no file")
    if has_fonts():
        return cv2.FontFace(font)
    if font not in BUILT_IN:
        raise ValueError(f"font={font!r}: this is OpenCV {cv2.__version__}, font files need 5.0 or newer")
    return cv2.FONT_HERSHEY_COMPLEX | cv2.FONT_ITALIC if font == "italic" else cv2.FONT_HERSHEY_SIMPLEX


def strokes(size: int) -> tuple[float, int]:
    """Return scale and thickness of letters of strokes; a capital letter is 21 units high at scale 1."""
    return size * CAPITALS / 21, max(1, round(size / 16))


def put(image: Image, line: str, baseline: tuple[int, int], size: int, colour: tuple[int, int, int], font: str) -> None:
    """Draw one prepared line, cut at the picture's edge."""
    cv2 = load_cv2()
    if has_fonts():
        wide = (0, 1 << 15)
        cv2.putText(image, line, baseline, colour, font_face(font), size, WEIGHT, cv2.PUT_TEXT_ALIGN_LEFT, wide)
    else:
        scale, thickness = strokes(size)
        cv2.putText(image, line, baseline, font_face(font), scale, colour, thickness, cv2.LINE_AA)


def extent(line: str, size: int, font: str) -> tuple[int, int]:
    """Return how far a prepared line goes to the right and down, from `size` above the start of its baseline."""
    cv2 = load_cv2()
    face = font_face(font)
    if has_fonts():
        x, y, width, height = cv2.getTextSize((1 << 15, 1 << 15), line, (0, size), face, size, WEIGHT)
        return max(0, x + width), y + height
    scale, thickness = strokes(size)
    (width, _), below = cv2.getTextSize(line, face, scale, thickness)
    return (width if line else 0), size + below


def spelled_plainly(line: str) -> str:
    """Return a line in ASCII: without the marks of its letters, question marks for what has no ASCII letter.

    >>> spelled_plainly("Zürich, 道路")
    'Zurich, ??'
    """
    first = (unicodedata.normalize("NFD", letter)[0] for letter in line if not unicodedata.combining(letter))
    return "".join(letter if letter <= "~" else "?" for letter in first)


def lacking(line: str, font: str) -> str:
    """Return the letters, sorted, for which a font draws question marks."""
    if has_fonts():
        return "".join(sorted({letter for letter in line if letter > "\u02ff" and not has_letter(letter, font)}))
    return "".join(sorted({letter for letter in line if spelled_plainly(letter) == "?" != letter}))


@cache
def has_letter(letter: str, font: str) -> bool:
    """Tell whether a font draws anything else than its question mark for a letter."""
    if unicodedata.combining(letter):
        return True
    own, mark = np.zeros((2, 48, 64, 3), np.uint8)
    put(own, letter, (8, 36), 24, (255, 255, 255), font)
    put(mark, "?", (8, 36), 24, (255, 255, 255), font)
    return not np.array_equal(own, mark)


@lru_cache(4096)
def font_with(letters: str) -> str | None:
    """Return the file of an installed font that has these letters, by fontconfig; None where there is none."""
    if not has_fonts() or shutil.which("fc-list") is None:
        return None
    signs = " ".join(f"{ord(letter):x}" for letter in letters)
    command = ["fc-list", f":charset={signs}:fontformat=TrueType", "--format", "%{file}\n"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
    usual = sorted(filter(None, found), key=lambda path: ("Sans" not in path, "Regular" not in path, path))
    return next((path for path in usual if all(has_letter(letter, path) for letter in letters)), None)
