"""Arguments of schedules: the seven that all take, by position and by name, and checks of their own ones."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from seg_optim.checks import (
    check_choice,
    check_flag,
    check_given,
    check_list,
    check_number,
    check_whole,
    unknown_argument,
)

__all__ = [
    "INF",
    "POSITIONS",
    "Checks",
    "ClassSignature",
    "CommonArguments",
    "by_name",
    "check_common",
    "check_factor",
    "check_start_factor",
    "check_step_count",
    "check_step_size",
    "in_iterations",
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


def by_name(kind: type[Any], args: tuple[object, ...], common: CommonArguments) -> dict[str, Any]:
    """Return what a scheduler hands on to the driver, with the names of those arguments that came by position.

    Raises:
        TypeError: There are too many, one comes twice, or one is unknown.
    """
    name, known, positions = kind.__name__, list(inspect.signature(kind).parameters), kind._positions
    if len(args) > len(positions):
        raise TypeError(f"{name} takes {len(known)} arguments at most: {', '.join(known)}")
    found: dict[str, Any] = dict(zip(positions, args, strict=False))
    for key, value in common.items():
        if key in found:
            raise TypeError(f"{name} was given {key!r} twice: by position and by name")
        if key not in positions:
            raise TypeError(unknown_argument(name, key, known))
        found[key] = value
    return found


def in_iterations(where: str, value: float | Sequence[float], length: int, whole: bool) -> float | list[float]:
    """Return epochs as iterations; where only a whole number is ever met, the fraction is left out."""

    def scaled(epochs: float) -> float:
        steps = epochs * length
        return int(steps) if whole and steps != int(steps) else steps

    if isinstance(value, list | tuple):
        check_list(where, value)
        return [scaled(one) for one in value]
    check_number(where, value)
    return scaled(value)  # type: ignore[arg-type] # a number now


def check_common(
    name: str, last_step: object, by_epoch: object, verbose: object, unit: object, resume_schedule: object
) -> None:
    """Accept the common arguments of the scheduler called `name`, but the window."""
    check_flag(f"{name}: verbose", verbose)
    if isinstance(last_step, bool) or not isinstance(last_step, int):
        raise TypeError(f"{name}: last_step={last_step!r} is a {type(last_step).__name__}, a whole number is needed")
    if last_step < -1:
        raise ValueError(f"{name}: last_step={last_step}, but -1 (a new run) is the smallest")
    check_choice(f"{name}: unit", unit, ("call", "step"))
    check_choice(f"{name}: resume_schedule", resume_schedule, ("config", "checkpoint"))
    if by_epoch not in (True, False):
        raise TypeError(f"{name}: by_epoch={by_epoch!r}: True or False is needed")


def window_length(name: str, begin: float, end: float) -> float:
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
    return end - begin


def check_factor(where: str, value: float) -> None:
    """Accept a factor of at least 0 that acts again and again; 0 and more than 1 are told in a line."""
    check_given(where, value)
    if value == 0:
        logger.warning("%s=0 brings the value to its minimum at once, and it stays there", where)
    if value > 1:
        logger.warning("%s=%s is above 1, so the value grows each time", where, value)


def check_start_factor(where: str, value: float) -> None:
    """Accept what a value begins at: a share of its base above 0."""
    check_given(where, value, most=1)
    if value == 0:
        raise ValueError(f"{where}=0: a value of 0 cannot grow by multiplication; give a small number such as 1e-6")


def check_step_count(where: str, value: float) -> None:
    """Accept a number of steps: a whole number of at least 0."""
    check_given(where, value)
    check_whole(where, value)


def check_step_size(where: str, value: float) -> None:
    """Accept a distance in steps: a whole number above 0."""
    check_given(where, value, above=0)
    check_whole(where, value)
