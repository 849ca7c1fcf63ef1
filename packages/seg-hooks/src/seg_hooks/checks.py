"""Checks of what users write into hooks: each error names the option, its value, what is allowed and near names."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeGuard

from seg_hooks.protocols import Stateful

__all__ = [
    "allowed_options",
    "did_you_mean",
    "edit_distance",
    "flag",
    "folder",
    "has_state",
    "names",
    "number",
    "one_of",
    "refuse_remote",
    "refuse_unknown",
    "whole",
]


MOST = 10**12
"""No run counts so far: a larger number is a slip of the keyboard."""


def whole(owner: str, name: str, value: object, *, least: int | None = None) -> int:
    """Return `value` as an int; a float without a fraction and numpy's numbers are taken, True and False are not."""
    fits = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    wanted = "a whole number" if least is None else f"a whole number of at least {least}"
    if not fits or isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{owner}: {name}={value!r} is a {type(value).__name__}; give {wanted}.")
    count = int(value) if isinstance(value, Integral) else int(float(value))
    if least is not None and count < least:
        raise ValueError(f"{owner}: {name}={value!r} is too small; give {wanted}.")
    if abs(count) > MOST:
        raise ValueError(f"{owner}: {name}={value!r} is more than any run makes; give {wanted}, up to {MOST}.")
    return count


def number(
    owner: str,
    name: str,
    value: object,
    *,
    above: float | None = None,
    below: float | None = None,
    least: float | None = None,
) -> float:
    """Return `value` as a float within the open interval (`above`, `below`) and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{owner}: {name}={value!r} is a {type(value).__name__}; give a number.")
    found = float(value)
    if found != found:
        raise ValueError(f"{owner}: {name}={value!r} is not a number.")
    if above is not None and not found > above:
        raise ValueError(f"{owner}: {name}={value!r} must be greater than {above}.")
    if below is not None and not found < below:
        raise ValueError(f"{owner}: {name}={value!r} must be smaller than {below}.")
    if least is not None and not found >= least:
        raise ValueError(f"{owner}: {name}={value!r} must be at least {least}.")
    return found


def flag(owner: str, name: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {name}={value!r} is a {type(value).__name__}; give True or False.")
    return value


def folder(owner: str, name: str, value: object, kind: str = "folder") -> Path | None:
    """Return `value` as a Path, None as None; addresses of remote stores are refused."""
    if value is None:
        return None
    if not isinstance(value, str | Path):
        raise TypeError(
            f"{owner}: {name}={value!r} is a {type(value).__name__}; give a {kind} as str or Path, or None."
        )
    if "://" in str(value):
        raise ValueError(
            f"{owner}: {name}={str(value)!r} is a remote address, but files are written to local disks only. "
            "The work_dir of seg-runner's Runner may be an address: all that a run writes is brought there."
        )
    return Path(value)


def one_of(owner: str, name: str, value: object, choices: Iterable[Any]) -> Any:
    """Return `value` if it is one of `choices`; else an error with the nearest."""
    choices = list(choices)
    if value in choices:
        return value
    raise ValueError(
        f"{owner}: {name}={value!r} is not known; choose from {choices}.{did_you_mean(str(value), map(str, choices))}"
    )


def names(owner: str, name: str, value: object) -> list[str]:
    """Return a str, or a list of different ones, as a list."""
    found: list[Any] = [value] if isinstance(value, str) else [None]
    if isinstance(value, list | tuple):
        found = list(value)
    if not found or not all(isinstance(one, str) and one for one in found):
        raise TypeError(f"{owner}: {name}={value!r}: give a name, or a list of names.")
    if len(set(found)) != len(found):
        raise ValueError(f"{owner}: {name}={value!r} contains a name twice; give each name once.")
    return found


def refuse_remote(owner: str, file_client_args: object, backend_args: object) -> None:
    """Refuse all but the local disk, the only one that is written to."""
    if file_client_args is not None and backend_args is not None:
        raise ValueError(f"{owner}: file_client_args is the old name of backend_args; give only backend_args.")
    args = file_client_args if backend_args is None else backend_args
    if args is None:
        return
    if not isinstance(args, Mapping):
        raise TypeError(f"{owner}: backend_args={args!r} is a {type(args).__name__}; give a dict or None.")
    one_of(owner, "backend_args['backend']", args.get("backend", "local"), ("local", "disk"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean ...?`, or nothing where no known name is like it; capitals do not count."""
    spellings = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(spellings), n=1, cutoff=0.6)
    return f" Did you mean {spellings[close[0]]!r}?" if close else ""


def edit_distance(one: str, other: str, limit: int = 3) -> int:
    """Count the letters that are missing, added, changed, or swapped with their neighbour, up to a limit.

    >>> edit_distance("modle", "model"), edit_distance("optim_wraper", "optim_wrapper"), edit_distance("loss", "hooks")
    (1, 1, 3)
    """
    if abs(len(one) - len(other)) >= limit:
        return limit
    above: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, above, row = above, row, [i]
        for j, right in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return min(row[-1], limit)


def allowed_options(call: Callable[..., Any]) -> list[str] | None:
    """List the keywords that `call` takes; None where it takes any."""
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def refuse_unknown(owner: str, options: Mapping[str, object], allowed: list[str] | None) -> None:
    """Refuse the first keyword that is not allowed, naming the nearest that is."""
    if allowed is None:
        return
    for name in options:
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise TypeError(f"{owner} has no option {name!r}.{did_you_mean(name, allowed)} Its options: {known}.")


def has_state(part: object) -> TypeGuard[Stateful]:
    """Tell whether a part has a state to save and to load, also where it passes on another object's methods."""
    return all(callable(getattr(part, name, None)) for name in ("state_dict", "load_state_dict"))
