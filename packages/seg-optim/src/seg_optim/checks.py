"""Checks of arguments: each error names the argument, what it is and what is needed."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor

__all__ = [
    "check_arguments",
    "check_choice",
    "check_count",
    "check_flag",
    "check_given",
    "check_list",
    "check_number",
    "check_whole",
    "did_you_mean",
    "unknown_argument",
    "unknown_key",
]


FILLED_IN = ("self", "params", "parameters", "optimizer", "param_name")
"""Arguments that are never given by name from a config."""


def check_number(
    where: str, value: object, *, least: float = 0.0, most: float = math.inf, above: float = -math.inf
) -> None:
    """Accept a finite number in `[least, most]` and beyond `above`, also as a tensor; None passes.

    A tensor on a device passes: looking at it would wait.

    Raises:
        TypeError: it is no number.
        ValueError: it lies outside.

    Example:
        >>> check_number("optimizer.lr", -1.0)
        Traceback (most recent call last):
        ...
        ValueError: optimizer.lr=-1.0: a finite number of at least 0 is needed
    """
    if value is None or (isinstance(value, Tensor) and value.device.type != "cpu"):
        return
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{where}={value!r} is a {type(value).__name__}, a number is needed")
    if math.isfinite(value) and least <= float(value) <= most and float(value) > above:
        return
    spans = [
        (most < math.inf, f" between {least:g} and {most:g}"),
        (above > -math.inf, f" above {above:g}"),
        (least > -math.inf, f" of at least {least:g}"),
        (True, ""),
    ]
    span = next(words for holds, words in spans if holds)
    raise ValueError(f"{where}={value!r}: a finite number{span} is needed")


def check_given(where: str, value: object, **limits: float) -> None:
    """Accept the same, but refuse None.

    Raises:
        TypeError: it is no number.
        ValueError: it lies outside.
    """
    if value is None:
        raise TypeError(f"{where} is None, a number is needed (or leave it out for the default)")
    check_number(where, value, **limits)


def check_count(where: str, value: object) -> None:
    """Accept a whole number of at least 1, numpy's too.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is less.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{where}={value!r} is a {type(value).__name__}, a whole number is needed")
    check_number(where, value, least=1)


def check_whole(where: str, value: float) -> None:
    """Accept a number without a fraction: steps are counted, and a fraction would never be met.

    Raises:
        ValueError: it has one.
    """
    if value != int(value):
        raise ValueError(f"{where}={value!r}: a whole number is needed, as steps are counted one by one")


def check_list(where: str, values: object, **limits: float) -> None:
    """Accept a list or tuple of numbers, each within the limits of `check_number`.

    Raises:
        TypeError: it is no list, or holds something that is no number.
        ValueError: a number lies outside.
    """
    if not isinstance(values, list | tuple):
        raise TypeError(f"{where}={values!r} is a {type(values).__name__}, a list of numbers is needed")
    for index, value in enumerate(values):
        if value is None:
            raise TypeError(f"{where}[{index}] is None, a number is needed")
        check_number(f"{where}[{index}]", value, **limits)


def check_choice(where: str, value: object, choices: Sequence[str]) -> None:
    """Accept one of a few words.

    Raises:
        ValueError: it is another.
    """
    if value not in choices:
        raise ValueError(f"{where}={value!r}: choose {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}")


def check_flag(where: str, value: object) -> None:
    """Accept True, False and None.

    Raises:
        TypeError: it is something else, such as the text `'no'`, which would count as True.
    """
    if not isinstance(value, bool | None):
        raise TypeError(f"{where}={value!r} is a {type(value).__name__}, True or False is needed")


def check_arguments(where: str, function: Callable[..., Any], given: Iterable[str]) -> None:
    """Accept names that a function or class takes, with the arguments of its base classes where it hands them on.

    Raises:
        TypeError: a name is unknown; near names are given.
    """
    known = _taken(function)
    for name in given:
        if known is not None and name not in known:
            raise TypeError(unknown_argument(where, name, known))


def unknown_argument(where: str, name: str, known: Sequence[str]) -> str:
    """Return the words for a name that is none of the arguments."""
    return f"{where} has no argument {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"


def _taken(function: Callable[..., Any]) -> list[str] | None:
    """Return the names of the arguments; None where any name may be taken."""
    kinds: Sequence[Any] = [function]
    if isinstance(function, type):
        kinds = [cls.__init__ for cls in function.__mro__ if "__init__" in vars(cls)]  # type: ignore[misc]
    names: list[str] = []
    for kind in kinds:
        try:
            parameters: Mapping[str, inspect.Parameter] = inspect.signature(kind).parameters
        except (TypeError, ValueError):  # built in, without a signature
            return None
        plain = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names += [p.name for p in plain if p.name not in (*names, *FILLED_IN)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return names
    return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names that are most like this one, capitals not counted, or an empty text.

    >>> did_you_mean("betas", ["beta", "eps"])
    " Did you mean 'beta'?"
    """
    spellings = {each.lower(): each for each in known}
    found = [spellings[near] for near in difflib.get_close_matches(name.lower(), spellings, n=3, cutoff=0.6)]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def unknown_key(name: str, names: Iterable[str], where: str) -> str:
    """Return one line that says that `name` is not among `names`."""
    known = sorted(map(str, names))
    return f"{name!r} is not {where}.{did_you_mean(name, known)} Known: {', '.join(known)}"
