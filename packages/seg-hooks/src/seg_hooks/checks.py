"""Checks of what users write into hooks: each error names the option, its value, what is allowed and near names."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

__all__ = ["allowed_options", "flag", "folder", "names", "number", "one_of", "refuse_unknown", "whole"]


MOST = 10**12
"""No run counts so far: a larger number is a slip of the keyboard."""


def whole(owner: str, name: str, value: Any, *, least: int | None = None) -> int:
    """`value` as an int; a float without a fraction and numpy's numbers are taken, True and False are not."""
    fits = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    wanted = "a whole number" if least is None else f"a whole number of at least {least}"
    if not fits or isinstance(value, bool):
        raise TypeError(f"{owner}: {name}={value!r} is a {type(value).__name__}; give {wanted}.")
    if least is not None and value < least:
        raise ValueError(f"{owner}: {name}={value!r} is too small; give {wanted}.")
    if abs(value) > MOST:
        raise ValueError(f"{owner}: {name}={value!r} is more than any run makes; give {wanted}, up to {MOST}.")
    return int(value)


def number(
    owner: str,
    name: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    least: float | None = None,
) -> float:
    """`value` as a float within the open interval (`above`, `below`) and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{owner}: {name}={value!r} is a {type(value).__name__}; give a number.")
    given: float = float(value)
    if given != given:
        raise ValueError(f"{owner}: {name}={value!r} compares with nothing; give a number.")
    if above is not None and not given > above:
        raise ValueError(f"{owner}: {name}={value!r} must be greater than {above}.")
    if below is not None and not given < below:
        raise ValueError(f"{owner}: {name}={value!r} must be smaller than {below}.")
    if least is not None and not given >= least:
        raise ValueError(f"{owner}: {name}={value!r} must be at least {least}.")
    return given


def flag(owner: str, name: str, value: Any) -> bool:
    """`value` if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {name}={value!r} is a {type(value).__name__}; give True or False.")
    return value


def folder(owner: str, name: str, value: Any, kind: str = "folder") -> Path | None:
    """`value` as a Path, None as None; addresses of remote stores are refused."""
    if value is None:
        return None
    if not isinstance(value, str | Path):
        raise TypeError(
            f"{owner}: {name}={value!r} is a {type(value).__name__}; give a {kind} as str or Path, or None."
        )
    if "://" in str(value):
        raise ValueError(
            f"{owner}: {name}={str(value)!r} is an address, and only local disks can be written; mount the store, "
            "or copy the work directory after the run."
        )
    return Path(value)


def one_of(owner: str, name: str, value: Any, choices: Iterable[Any]) -> Any:
    """`value` if it is one of `choices`; else an error with the nearest."""
    choices = list(choices)
    if value in choices:
        return value
    raise ValueError(
        f"{owner}: {name}={value!r} is not known; choose from {choices}.{near(str(value), map(str, choices))}"
    )


def names(owner: str, name: str, value: Any) -> list[str]:
    """A str or a list of different str, as a list."""
    found: list[Any] = [value] if isinstance(value, str) else [None]
    if isinstance(value, list | tuple):
        found = list(value)
    if not found or not all(isinstance(one, str) and one for one in found):
        raise TypeError(f"{owner}: {name}={value!r}: give a name, or a list of names.")
    if len(set(found)) != len(found):
        raise ValueError(f"{owner}: {name}={value!r} holds a name twice.")
    return found


def near(name: str, known: Iterable[str]) -> str:
    """` Did you mean ...?`, or nothing where no known name is like it; capitals do not count."""
    spellings = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(spellings), n=1, cutoff=0.6)
    return f" Did you mean {spellings[close[0]]!r}?" if close else ""


def allowed_options(call: Callable[..., Any]) -> list[str] | None:
    """The keywords that `call` takes; None where it takes any."""
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def refuse_unknown(owner: str, given: Mapping[str, Any], allowed: list[str] | None) -> None:
    """TypeError for the first keyword that is not allowed, with the nearest that is."""
    if allowed is None:
        return
    for name in given:
        if name not in allowed:
            options = ", ".join(allowed) or "none"
            raise TypeError(f"{owner} has no option {name!r}.{near(name, allowed)} Its options: {options}.")
