"""Colours and line styles by the names that matplotlib users write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_vis.arrays import to_numpy
from seg_vis.checks import check_number, did_you_mean

__all__ = ["colour", "colour_list", "dashes", "numbers", "spread"]

Colour = tuple[int, int, int]
NAMES: dict[str, Colour] = {
    "b": (0, 0, 255),
    "g": (0, 128, 0),
    "r": (255, 0, 0),
    "c": (0, 191, 191),
    "m": (191, 0, 191),
    "y": (191, 191, 0),
    "k": (0, 0, 0),
    "w": (255, 255, 255),
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "cyan": (0, 255, 255),
    "gold": (255, 215, 0),
    "gray": (128, 128, 128),
    "green": (0, 128, 0),
    "grey": (128, 128, 128),
    "indigo": (75, 0, 130),
    "lime": (0, 255, 0),
    "magenta": (255, 0, 255),
    "maroon": (128, 0, 0),
    "navy": (0, 0, 128),
    "olive": (128, 128, 0),
    "orange": (255, 165, 0),
    "pink": (255, 192, 203),
    "purple": (128, 0, 128),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "turquoise": (64, 224, 208),
    "violet": (238, 130, 238),
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
}
STYLES = {"-": (), "solid": (), "--": (6, 4), "dashed": (6, 4), ":": (1, 3), "dotted": (1, 3), "-.": (6, 3, 1, 3)}


def colour(value: object) -> Colour | None:
    """Return an RGB colour from a name, `#rrggbb` or three whole numbers from 0 to 255; None from `"none"`.

    Raises:
        ValueError: anything else.

    Example:
        >>> colour("orange"), colour("#0a0b0c"), colour((1, 2, 3)), colour("none")
        ((255, 165, 0), (10, 11, 12), (1, 2, 3), None)
    """
    if isinstance(value, str):
        if value == "none":
            return None
        if re.fullmatch("#[0-9a-fA-F]{6}", value):
            return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
        if value in NAMES:
            return NAMES[value]
        raise ValueError(f"no colour is called {value!r}{did_you_mean(value, NAMES, 2)}")
    parts = tuple(value) if isinstance(value, Iterable) else ()
    if len(parts) != 3 or not all(isinstance(part, Real) and part in range(256) for part in parts):
        raise ValueError(f"a colour is a name, '#rrggbb' or three whole numbers from 0 to 255, got {value!r}")
    return int(parts[0]), int(parts[1]), int(parts[2])


def colour_list(value: object, count: int) -> list[Colour | None]:
    """Return one colour for each of `count` things, from one for all, or from a list.

    Raises:
        TypeError: no colours.
        ValueError: something that is no colour, or another number of them.
    """
    if not hasattr(value, "__len__") or not isinstance(value, Iterable):
        raise TypeError(f"a colour is a name, '#rrggbb' or three whole numbers from 0 to 255, got {value!r}")
    parts = [value] if isinstance(value, str) else list(value)
    numbered = len(parts) == 3 and all(np.isscalar(part) and not isinstance(part, str) for part in parts)
    single = isinstance(value, str) or numbered
    return [colour(item) for item in ([value] * count if single else spread(value, count, "colours"))]


def spread(value: object, count: int, name: str) -> list[Any]:
    """Return one value for each of `count` things.

    Raises:
        ValueError: a list of another length.
    """
    if isinstance(value, str | int | float | dict) or value is None:
        return [value] * count
    values = list(value) if isinstance(value, Iterable) else []
    if len(values) != count:
        raise ValueError(f"{name}: {len(values)} values for {count} things; give one for all or one for each")
    return values


def numbers(value: object, count: int, name: str, least: float, most: float) -> list[float]:
    """Return one number within limits for each of `count` things, from one for all, or from a list or an array.

    Raises:
        TypeError: no numbers.
        ValueError: one outside, or as many that they do not fit.
    """
    plain = to_numpy(value, name).tolist() if hasattr(value, "shape") else value
    several = isinstance(plain, Sequence) and not isinstance(plain, str)
    listed = spread(plain, count, name) if several else [plain] * count
    return [check_number(one, name, least, most) for one in listed]


def dashes(points: NDArray[np.float64], style: str, width: float) -> list[NDArray[np.float64]]:
    """Return the pieces of an open line that a style draws.

    Raises:
        ValueError: a style that is none of `-`, `--`, `:`, `-.`.
    """
    if style not in STYLES:
        raise ValueError(f"a line style is one of {', '.join(map(repr, STYLES))}, got {style!r}")
    pattern = STYLES[style]
    if not pattern:
        return [points]
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    pieces, start, turn = [], 0.0, 0
    while start < along[-1]:
        end = min(start + pattern[turn % len(pattern)] * max(width, 1.0), along[-1])
        if turn % 2 == 0:
            inner = points[(along > start) & (along < end)]
            ends = [[np.interp(at, along, points[:, axis]) for axis in (0, 1)] for at in (start, end)]
            pieces.append(np.concatenate([[ends[0]], inner, [ends[1]]]))
        start, turn = end, turn + 1
    return pieces
