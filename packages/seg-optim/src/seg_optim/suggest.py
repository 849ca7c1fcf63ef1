"""Near names for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["near", "unknown_key"]


def near(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or an empty text."""
    folded = {known.lower(): known for known in names}
    found = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def unknown_key(name: str, names: Iterable[str], where: str) -> str:
    """One line that says that `name` is not among `names`."""
    known = sorted(map(str, names))
    return f"{name!r} is not {where}.{near(name, known)} Known: {', '.join(known)}"
