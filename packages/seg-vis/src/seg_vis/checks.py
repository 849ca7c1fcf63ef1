"""Arguments that are a number, a switch or labels, refused with their name where they are not what they should be."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

import numpy as np

__all__ = ["check_alpha", "check_flag", "check_label", "check_labels", "check_number", "check_whole", "did_you_mean"]

MOST = 10**9
"""No count, label or size of a picture is larger."""


def check_whole(value: object, name: str, least: int = 1, most: int = MOST) -> int:
    """Return a whole number of at least `least`; 2.0 is one, True is not.

    Raises:
        TypeError: something else than a whole number.
        ValueError: a smaller or a larger one.
    """
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if isinstance(value, Real) and not isinstance(value, Integral) and float(value).is_integer():
        number = int(float(value))
    if number is None:
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
    if number > most:
        raise ValueError(f"{name} must be {most} or less, got {value}")
    return number


def check_number(value: object, name: str, least: float, most: float = MOST) -> float:
    """Return a number from `least` to `most`.

    Raises:
        TypeError: no number.
        ValueError: one outside, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of at least {least:g}, got {value!r}")
    if math.isnan(value) or not least <= float(value) <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {value}")
    return float(value)


def check_flag(value: object, name: str) -> bool:
    """Return True or False; 1 and 0 stand for them, a text never does ('False' would be true).

    Raises:
        TypeError: neither.
    """
    if type(value).__name__ not in ("bool", "bool_", "int") or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_label(value: object, name: str) -> int | None:
    """Return one label, or None for none.

    Raises:
        TypeError: no whole number.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or abs(int(value)) > MOST):
        raise TypeError(f"{name} must be a label or None, got {value!r}")
    return None if value is None else int(value)


def check_labels(value: object, name: str) -> list[int] | None:
    """Return a list of labels, or None for all; one label stands for a list of it.

    Raises:
        TypeError: something else.
        ValueError: a negative one.
    """
    if value is None:
        return None
    listed = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else [value]
    labels = [int(each) for each in listed if isinstance(each, Integral) and not isinstance(each, bool)]
    if len(labels) < len(listed):
        raise TypeError(f"{name} must be a list of labels such as [13], got {value!r}")
    if not all(0 <= each <= MOST for each in labels):
        raise ValueError(f"{name} must be labels of 0 or more, got {value!r}")
    return labels


def check_alpha(alpha: object) -> float:
    """Return the weight of the colours, from 0 (only the image) to 1 (only the colours).

    Raises:
        TypeError: no number.
        ValueError: one outside.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, Real):
        raise TypeError(f"alpha must be a number from 0 to 1, got {alpha!r}")
    if not 0 <= float(alpha) <= 1:
        raise ValueError(f"alpha must be between 0 (only the image) and 1 (only the colours), got {alpha}")
    return float(alpha)


def did_you_mean(name: str, known: Iterable[str], count: int = 1) -> str:
    """Return the end of a message that names known names most like this one, capitals not counted, or nothing.

    >>> did_you_mean("Ornge", ["orange", "red"])
    '; did you mean orange?'
    """
    spellings = {each.lower(): each for each in known}
    near = [spellings[each] for each in difflib.get_close_matches(name.lower(), spellings, n=count, cutoff=0.6)]
    return f"; did you mean {' or '.join(near)}?" if near else ""
