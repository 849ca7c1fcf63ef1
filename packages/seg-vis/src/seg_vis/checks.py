"""Arguments that are one number, refused with their name where they are not what they should be."""

from __future__ import annotations

import numpy as np

__all__ = ["INTEGERS", "check_alpha", "check_whole"]

INTEGERS = (int, np.integer)
NUMBERS = (int, float, np.integer, np.floating)


def check_whole(value: object, name: str, least: int = 1) -> int:
    """A whole number of at least `least`.

    Raises:
        TypeError: something else than a whole number.
        ValueError: a smaller one.
    """
    if isinstance(value, bool) or not isinstance(value, INTEGERS):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
    return int(value)


def check_alpha(alpha: object) -> float:
    """The weight of the colours, from 0 (only the image) to 1 (only the colours).

    Raises:
        TypeError: no number.
        ValueError: one outside.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, NUMBERS):
        raise TypeError(f"alpha must be a number from 0 to 1, got {alpha!r}")
    weight = float(alpha)
    if not 0 <= weight <= 1:
        raise ValueError(f"alpha must be between 0 (only the image) and 1 (only the colours), got {alpha}")
    return weight
