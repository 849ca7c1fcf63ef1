"""Arguments of schedules: the seven that all take, by position and by name, and checks of their own ones."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from seg_optim.checks import check_given, check_number, check_whole

__all__ = [
    "INF",
    "POSITIONS",
    "Checks",
    "ClassSignature",
    "CommonArguments",
    "check_factor",
    "check_last_step",
    "check_start_factor",
    "check_step_count",
    "check_step_size",
    "window_length",
]

logger = logging.getLogger("seg_optim")
INF = int(1e9)
"""`end` of a schedule that never ends."""
POSITIONS: tuple[str, ...] = ("begin", "end", "last_step", "by_epoch", "verbose", "unit", "resume_schedule")
"""The common arguments in MMEngine's order, and then ours: so they may follow a schedule's own without a name."""

Checks = Mapping[str, Callable[[str, Any], None]]
"""Name of an argument -> what looks at its value, called with the words for it in a message."""


class CommonArguments(TypedDict, total=False):
    """Arguments of every schedule; `ParamScheduler` has their defaults and says what they mean."""

    begin: int
    end: int
    last_step: int
    by_epoch: bool
    verbose: bool
    unit: str
    resume_schedule: str


class ClassSignature:
    """`__signature__` of our schedules: what they name themselves and, in its place, what they hand on to the driver.

    So `inspect.signature`, `help` and notebooks show every argument. A class of somebody else shows its own `__init__`.
    """

    def __get__(self, _: object, owner: type[Any]) -> inspect.Signature:
        makers = [vars(cls)["__init__"] for cls in owner.__mro__[:-1] if "__init__" in vars(cls)]
        first = inspect.signature(makers[0])
        if not makers[0].__module__.startswith("seg_optim."):
            return first.replace(parameters=list(first.parameters.values())[1:])
        found: dict[str, inspect.Parameter] = {}
        for maker in makers:
            for name, parameter in list(inspect.signature(maker).parameters.items())[1:]:
                if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                    found.setdefault(name, parameter.replace(kind=parameter.POSITIONAL_OR_KEYWORD))
        left_out = {*POSITIONS, *owner._positions, *owner._filled_in}
        own = [parameter for name, parameter in found.items() if name not in left_out]
        return first.replace(parameters=[*own, *(found[name] for name in owner._positions)])


def window_length(name: str, begin: float, end: float) -> int:
    """Return the number of steps in `[begin, end)`.

    Raises:
        TypeError: One of them is not a number.
        ValueError: The window is empty.
    """
    for key, value in (("begin", begin), ("end", end)):
        if value is None or value is True or value is False:
            raise TypeError(f"{name}: {key}={value!r} is a {type(value).__name__}, a whole number is needed")
        if value != math.inf:
            check_number(f"{name}: {key}", value)
    if end <= begin:
        raise ValueError(f"{name}: end={end} is not after begin={begin}, so the schedule would never act")
    return end - begin  # type: ignore[return-value]


def check_last_step(where: str, value: object) -> None:
    """Accept a position: a whole number, -1 (a new run) at least.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is less.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{where}={value!r} is a {type(value).__name__}, a whole number is needed")
    if value < -1:
        raise ValueError(f"{where}={value}, but -1 (a new run) is the smallest")


def check_factor(where: str, value: float) -> None:
    """Accept a factor of at least 0 that acts again and again; 0 and more than 1 are told in a line."""
    check_given(where, value)
    if value == 0:
        logger.warning("%s=0 brings the value to its lowest at once, for good", where)
    if value > 1:
        logger.warning("%s=%s is above 1, so the value grows each time", where, value)


def check_start_factor(where: str, value: float) -> None:
    """Accept what a value begins at: a share of its base above 0."""
    check_given(where, value, most=1)
    if value == 0:
        raise ValueError(f"{where}=0 cannot be multiplied up again; write a small number such as 1e-6")


def check_step_count(where: str, value: float) -> None:
    """Accept a number of steps: a whole number of at least 0."""
    check_given(where, value)
    check_whole(where, value)


def check_step_size(where: str, value: float) -> None:
    """Accept a distance in steps: a whole number above 0."""
    check_given(where, value, above=0)
    check_whole(where, value)
