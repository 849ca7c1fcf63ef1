"""A checkpoint of which not one weight fits the model: where in it weights lie that would, and what to say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["NothingFitsError", "nothing_fits"]


class NothingFitsError(ValueError):
    """Not one weight of a file has a name of the model."""


def nothing_fits(content: Mapping[str, Any], own: Sequence[str], key: str | None = None) -> str:
    """What to do with a file that has no weight of this model, in words.

    Args:
        content: The whole checkpoint.
        own: Names of the model's weights.
        key: Where they were looked for.

    >>> print(nothing_fits({"model": {"conv.weight": 1}, "epoch": 3}, ["conv.weight", "conv.bias"]))
    nothing was loaded: no weight of the file has a name of this model. The file's keys: model, epoch.
    Under 'model' 1 of the model's 2 names are found: give key='model'.
    """
    lines = ["nothing was loaded: no weight of the file has a name of this model."]
    lines[0] += f" The file's keys: {_some(list(map(str, content)))}."
    places = {path: sorted(set(own) & set(names)) for path, names in _places(content)}
    best = max(places, key=lambda path: len(places[path]), default=None)
    if best and places[best]:
        found = f"{len(places[best])} of the model's {len(own)} names are found"
        lines.append(f"Under {best!r} {found}: give key={best!r}.")
        return "\n".join(lines)
    for path, names in _places(content):
        where = "" if path in ("", key or "state_dict") else f"key={path!r}, "
        if (change := _prefix(names, own)) is not None:
            lines.append(f"The names differ by a prefix: give {where}revise_keys=[{change}].")
            return "\n".join(lines)
    lines.append(f"The model's names: {_some(list(own))}. Give key=... or revise_keys=[(pattern, replacement), ...].")
    return "\n".join(lines)


def _places(content: Mapping[str, Any], path: str = "", depth: int = 3) -> Iterator[tuple[str, list[str]]]:
    """Every dict of tensors in a checkpoint: its dotted path, and its names."""
    names = [str(name).removeprefix("module.") for name, value in content.items() if not isinstance(value, Mapping)]
    if names:
        yield path, names
    for name, value in content.items() if depth else ():
        if isinstance(value, Mapping):
            yield from _places(value, f"{path}.{name}" if path else str(name), depth - 1)


def _prefix(names: Sequence[str], own: Sequence[str]) -> str | None:
    """The pair for `revise_keys` that makes most of these names those of the model; None where none makes one."""
    mine, theirs = set(own), set(names)
    less = [f"({'^' + re.escape(lead)!r}, '')" for name in names for lead, rest in _cuts(name) if rest in mine]
    more = [f"('^', {lead!r})" for name in own for lead, rest in _cuts(name) if rest in theirs]
    return next((change for change, _ in Counter(less + more).most_common(1)), None)


def _cuts(name: str) -> list[tuple[str, str]]:
    return [(name[: dot.end()], name[dot.end() :]) for dot in re.finditer(r"\.", name)]


def _some(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
