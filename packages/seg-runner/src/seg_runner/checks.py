"""Values that a caller gives: checked where an object is made, and returned as they are used."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TypeGuard, TypeVar

from seg_runner.errors import did_you_mean, near_key

__all__ = [
    "choices",
    "count_of",
    "flag",
    "folder",
    "label",
    "number",
    "one_of",
    "pair",
    "text",
    "unused",
    "warn_unused",
    "whole",
]


Value = TypeVar("Value")

MOST_PIXELS = 10**6  # a side of a picture
MOST = 10**12
"""No run counts so far: a larger number is a slip of the keyboard, and would be believed for ever."""


def whole(value: object, name: str, least: int | None = 0, most: int = MOST) -> int:
    """Return a whole number; 3.0 is one, True is not.

    Raises:
        TypeError: It is no number.
        ValueError: It is not whole, or too small, or larger than any count.

    >>> whole(3.0, "max_iters")
    3
    """
    words = "a whole number" if least is None else f"a whole number of at least {least}"
    if not _is_number(value):
        raise TypeError(f"{name} must be {words}, not {value!r}")
    if not math.isfinite(value) or value != int(value) or (least is not None and value < least):
        raise ValueError(f"{name} must be {words}, not {value!r}")
    if abs(value) > most:
        raise ValueError(f"{name} must be {words}, up to {most}, not {value!r}")
    return int(value)


def count_of(value: object) -> int | None:
    """Return a count of iterations, epochs, runs as a file gives it; None where it can be none: made up, or damaged.

    >>> count_of(40_000), count_of(-1), count_of(True), count_of("7"), count_of(float("nan")), count_of(10**30)
    (40000, None, None, None, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST else None


def number(
    value: object, name: str, least: float = -math.inf, most: float = math.inf, above: float = -math.inf
) -> float:
    """Return a finite number in a range.

    Raises:
        TypeError: It is no number.
        ValueError: It is not finite, or outside of the range.

    >>> number(0.5, "threshold", least=0, most=1)
    0.5
    """
    limits = [f"at least {least:g}"] * (least > -math.inf) + [f"at most {most:g}"] * (most < math.inf)
    limits += [f"more than {above:g}"] * (above > -math.inf)
    words = " and ".join(["a number", *limits]).replace("number and", "number of", 1)
    if not _is_number(value):
        raise TypeError(f"{name} must be {words}, not {value!r}")
    if not math.isfinite(value) or not least <= value <= most or value <= above:
        raise ValueError(f"{name} must be {words}, not {value!r}")
    return value if isinstance(value, int) else float(value)


def _is_number(value: object, kind: type = Real) -> TypeGuard[float]:
    return isinstance(value, kind) and not isinstance(value, bool)


def flag(value: object, name: str) -> bool:
    """Return True or False; 1 and 0 stand for them, a text never does ('False' would be true).

    Raises:
        TypeError: It is neither.
    """
    if isinstance(value, str) or type(value).__name__ not in ("bool", "bool_", "int") or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def pair(value: object, name: str) -> tuple[int, int]:
    """Return two positive whole numbers (height, width); one number stands for both.

    Raises:
        ValueError: It is something else.

    >>> pair(512, "crop_size")
    (512, 512)
    """
    both = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(both) != 2 or not all(_is_number(one, Integral) and 0 < one <= MOST_PIXELS for one in both):
        raise ValueError(f"{name}: two positive numbers (height, width) are expected, not {value!r}")
    return int(both[0]), int(both[1])


def label(value: object, name: str) -> int | None:
    """Return a label, such as the one of pixels that do not count; None for none.

    Raises:
        TypeError: It is no whole number.
    """
    if value is not None and (not _is_number(value, Integral) or abs(value) > MOST):
        raise TypeError(f"{name} must be the label of pixels that do not count, such as 255, not {value!r}")
    return None if value is None else int(value)


def text(value: object, name: str) -> str | None:
    """Return a text, or None.

    Raises:
        TypeError: It is something else.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a text, or None, not {value!r}")
    return value


def folder(value: object, name: str) -> Path | None:
    """Return the path of a folder, or None.

    Raises:
        TypeError: It is no path.
    """
    if value is not None and (not isinstance(value, str | Path) or not str(value)):
        raise TypeError(f"{name} must be the path of a folder, not {value!r}")
    return None if value is None else Path(value)


def choices(value: object, name: str, known: Sequence[str]) -> list[str]:
    """Return one of the known names or several, as a list.

    Raises:
        TypeError: It is no name and no list of names.
        KeyError: A name that is not known.

    >>> choices("mIoU", "iou_metrics", ["mIoU", "mDice"])
    ['mIoU']
    """
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, Iterable) or not listed:
        raise TypeError(f"{name} must be one of {', '.join(known)}, or a list of them, not {value!r}")
    for one in listed:
        if one not in known:
            raise KeyError(f"{name}: {one!r} is not one of {', '.join(known)}.{did_you_mean(str(one), known)}")
    return list(listed)


def one_of(value: Value, name: str, known: Sequence[Value]) -> Value:
    """Return a value that is one of a few.

    Raises:
        ValueError: It is another one.

    >>> one_of("whole", "test_cfg.mode", ("whole", "slide"))
    'whole'
    """
    if value not in known:
        raise ValueError(f"{name}: {' or '.join(map(repr, known))} is expected, not {value!r}")
    return value


def unused(options: Iterable[str], takes: Iterable[str]) -> str:
    """List options that a class takes and does not use, each with the near name of one that it does use.

    >>> unused(["num_clases", "file_client_args"], ["num_classes", "beta"])
    "file_client_args, num_clases (did you mean 'num_classes'?)"
    """
    known = list(takes)
    near = {option: did_you_mean(option, known).strip() for option in sorted(options)}
    return ", ".join(f"{option} ({words[0].lower()}{words[1:]})" if words else option for option, words in near.items())


def warn_unused(logger: logging.Logger, kind: type, options: Iterable[str]) -> None:
    """Name options that a class was given and does not use in a warning, if there are any.

    Raises:
        TypeError: One is a slip of the keyboard for an option that the class does use: that would keep its default.
    """
    known = [name for name, one in inspect.signature(kind).parameters.items() if one.kind is not one.VAR_KEYWORD]
    for option in sorted(options):
        if near := near_key(option, known):
            raise TypeError(f"{kind.__name__} has no option {option!r}. Did you mean {near!r}?")
    if options:
        logger.warning("%s does not use %s", kind.__name__, unused(options, known))
