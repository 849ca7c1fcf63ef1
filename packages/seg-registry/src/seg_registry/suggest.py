"""Near names: what the user probably meant."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "edit_distance"]

_LONGEST = 100  # characters of a name that is compared: comparing takes quadratic time
_MOST = 5000  # names that are compared


def did_you_mean(name: object, known: Iterable[object], *, list_known: bool = True) -> str:
    """Return a sentence that names the nearest of the known names.

    Where nothing is near, it lists the known names, or is '' without `list_known`.

    >>> did_you_mean("optim_wraper", ["optim_wrapper", "model"])
    "did you mean 'optim_wrapper'?"
    >>> did_you_mean("x", ["optim_wrapper", "model"])
    'known: model, optim_wrapper'
    """
    names = [str(each) for each in known]
    near = _nearest(str(name), names)
    if near:
        return f"did you mean {' or '.join(repr(each) for each in near)}?"
    if not names or not list_known:
        return ""
    shown = ", ".join(each[:_LONGEST] for each in sorted(names)[:12])
    return f"known: {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _nearest(name: str, names: list[str]) -> list[str]:
    """Return up to three of the names that look like `name`, the likest first."""
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in names[:_MOST] if len(each) <= _LONGEST}
    return [by_lower[low] for low in get_close_matches(name[:_LONGEST].lower(), by_lower, 3, 0.6)]


def edit_distance(one: str, other: str, limit: int = 3) -> int:
    """Return the Levenshtein distance (insertions, deletions, substitutions), cut off at `limit`.

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
