"""Checks of what configs give to data sets, transforms and models."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["check_keys", "counts", "refuse_unknown", "switch"]


def counts(values: object, name: str, least: int | None = 1) -> list[int]:
    """Return a list of whole numbers.

    Raises:
        TypeError: It is no list, or holds something that is no number.
        ValueError: It is empty, or a number is too small.
    """
    from seg_runner.checks import whole  # the help of the command waits for no torch

    if not isinstance(values, list | tuple):
        raise TypeError(f"{name} must be a list of whole numbers, not {values!r}")
    if not values:
        raise ValueError(f"{name} is an empty list")
    return [whole(one, f"each of {name}", least) for one in values]


def switch(value: object, name: str) -> bool:
    """Return True or False; None is False, as MMEngine takes it, with a warning (an error with `python -W error`).

    Raises:
        TypeError: It is neither: a text such as 'no' would count as True.

    >>> switch(True, "keep_ratio")
    True
    """
    from seg_runner.checks import flag

    if value is None:
        warnings.warn(f"{name}=None is taken as False: write False, or leave it out for its default", stacklevel=3)
    return value is not None and flag(value, name)


def check_keys(given: Mapping[str, Any], known: Sequence[str], name: str) -> None:
    """Other keys are the user's own, unless they are slips of the keyboard.

    Raises:
        ValueError: One is nearly a known key that is not there.
    """
    from seg_runner.errors import near_key

    for key in given:
        near = near_key(str(key), known)
        if near is not None and near not in given:
            raise ValueError(f"{name}: nothing reads the key {key!r}. Did you mean {near!r}?")


def refuse_unknown(kind: type, options: Iterable[str], ignored: Collection[str], owner: str = "") -> None:
    """Refuse an option that a class neither takes nor ignores: it is a misspelt one.

    Args:
        kind: The class whose arguments are known.
        options: What was given beyond them.
        ignored: Options that make no difference.
        owner: The name to use in the message; the class's.

    Raises:
        TypeError: There is one; the message has the nearest name.
    """
    from seg_runner.errors import did_you_mean

    unknown = sorted(set(options) - set(ignored))
    if unknown:
        takes = [name for name in inspect.signature(kind).parameters if name != "ignored"]
        near = did_you_mean(unknown[0], [*takes, *ignored])
        raise TypeError(f"{owner or kind.__name__} has no option {unknown[0]!r}.{near} It takes {', '.join(takes)}")
