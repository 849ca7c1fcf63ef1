"""Near names: what the user probably meant."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "edit_distance", "nearest"]


def nearest(name: object, known: Iterable[object], count: int = 3) -> list[str]:
    """Up to `count` of the `known` names that look like `name`, the likest first.

    >>> nearest("optim_wraper", ["optim_wrapper", "model"])
    ['optim_wrapper']
    """
    from difflib import get_close_matches

    by_lower = {str(each).lower(): str(each) for each in known}
    return [by_lower[low] for low in get_close_matches(str(name).lower(), by_lower, count, 0.6)]


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """A sentence that names the nearest, or, where nothing is near, the names that exist; '' where none does."""
    names = [str(each) for each in known]
    near = nearest(name, names)
    if near:
        return f"did you mean {' or '.join(repr(each) for each in near)}?"
    shown = ", ".join(sorted(names)[:12])
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"known: {shown}{more}" if names else ""


def edit_distance(one: str, other: str, limit: int = 3) -> int:
    """Levenshtein distance (insertions, deletions, substitutions), cut off at `limit`.

    >>> edit_distance("optim_wraper", "optim_wrapper")
    1
    """
    if abs(len(one) - len(other)) >= limit:
        return limit
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return min(row[-1], limit)
