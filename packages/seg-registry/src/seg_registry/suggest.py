"""Near names: what the user probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

__all__ = ["did_you_mean", "edit_distance", "nearest"]

_LONGEST = 100  # characters of a name that is compared: comparing takes quadratic time
_MOST = 5000  # names that are compared


def nearest(name: object, known: Iterable[object], count: int = 3) -> list[str]:
    """Up to `count` of the `known` names that look like `name`, the likest first.

    >>> nearest("optim_wraper", ["optim_wrapper", "model"])
    ['optim_wrapper']
    """
    from difflib import get_close_matches

    short = [text for text in map(str, islice(known, _MOST)) if len(text) <= _LONGEST]
    by_lower = {text.lower(): text for text in short}
    return [by_lower[low] for low in get_close_matches(str(name)[:_LONGEST].lower(), by_lower, count, 0.6)]


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """A sentence that names the nearest, or, where nothing is near, the names that exist; '' where none does."""
    names = [str(each) for each in known]
    near = nearest(name, names)
    if near:
        return f"did you mean {' or '.join(repr(each) for each in near)}?"
    shown = ", ".join(each[:_LONGEST] for each in sorted(names)[:12])
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"known: {shown}{more}" if names else ""


def edit_distance(one: str, other: str, limit: int = 3) -> int:
    """Levenshtein distance (insertions, deletions, substitutions), cut off at `limit`.

    >>> edit_distance("optim_wraper", "optim_wrapper")
    1
    """
    if abs(len(one) - len(other)) >= limit or len(one) > _LONGEST:
        return limit
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return min(row[-1], limit)
