"""What a data set says about itself, checked where it is made: `classes`, `palette`, and which label becomes which."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from seg_engine.data.checks import check_keys

__all__ = ["checked_metainfo", "known_metainfo", "renumbering"]

KEYS = ("classes", "palette")


def checked_metainfo(given: object, own: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return the metainfo of a data set, with `classes` as a tuple and the colours of `palette` as lists.

    A text names a file, as in MMEngine: of classes with one name a line, of colours with three numbers a line. A
    palette may be the name of one that seg-vis knows, too.

    Args:
        given: What the config says.
        own: What the class says.
        owner: The class, for messages.

    Raises:
        TypeError: Something else than a list of names, or of colours.
        ValueError: A key that is misspelt, a text that names no file, or colours outside of 0 ... 255.

    >>> checked_metainfo({"classes": ["soil", "crop"], "palette": np.eye(2, 3)}, {}, "Data")
    {'classes': ('soil', 'crop'), 'palette': [[1, 0, 0], [0, 1, 0]]}
    """
    given = given or {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{owner}: metainfo must be a dict of classes and palette, not {given!r}")
    check_keys(given, KEYS, f"{owner}: metainfo")
    info = {**own, **given}
    if info.get("classes") is not None:
        info["classes"] = _classes(info["classes"], f"{owner}: metainfo['classes']")
    if info.get("palette") is not None:
        info["palette"] = _palette(info["palette"], info.get("classes"), f"{owner}: metainfo['palette']")
    return info


def _classes(given: object, name: str) -> tuple[Any, ...]:
    """Return the names, one a label in their order."""
    expected = "a list of names is expected, one for each label in their order"
    if isinstance(given, str | os.PathLike):
        if not os.path.isfile(given):
            raise ValueError(
                f"{name} is the text {str(given)!r}, and there is no file of that name to read classes from; "
                f"{expected}: ({str(given)!r},) with a comma is a list of one"
            )
        return tuple(_lines(given, name))
    if isinstance(given, Set):
        raise TypeError(f"{name} is a set, whose order changes from run to run; {expected}: [...] instead of {{...}}")
    if isinstance(given, Mapping | bytes) or not hasattr(given, "__iter__"):
        raise TypeError(f"{name} is {given!r}; {expected}")
    names = tuple(given.tolist() if isinstance(given, np.ndarray) else given)
    odd = [one for one in names if not isinstance(one, str | int | float | np.generic)]
    if odd:
        raise TypeError(f"{name} holds {odd[0]!r}; {expected}")
    return names


def _lines(path: str | os.PathLike[str], name: str) -> list[str]:
    """Return the lines of a text file; empty ones may stand at its end only, since each line is a label."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"{name}: {path} is a folder, a pipe or a device; a text file is expected")
    try:
        lines = [line.strip() for line in Path(path).read_text("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: {path} is no text in UTF-8; one line for each label is expected") from error
    if not lines or not all(lines):
        raise ValueError(f"{name}: {path} is empty, or holds an empty line; one line for each label is expected")
    return lines


def _palette(given: object, classes: Sequence[Any] | None, name: str) -> Any:
    """Return N colours as lists of three numbers, or the name of a palette; nothing, where it is empty."""
    from seg_vis import get_palette

    expected = "three whole numbers from 0 to 255 are expected for each label"
    if isinstance(given, os.PathLike) or (isinstance(given, str) and os.path.isfile(given)):
        given = [[int(one) for one in re.findall(r"[-+]?\d+", line)] for line in _lines(given, name)]
    try:
        if isinstance(given, str):
            get_palette(given, len(classes or ()) or 1)
            return given
        if hasattr(given, "__len__") and not len(given):
            return []
        return get_palette(_whole(given)).tolist()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}; {expected}") from error


def _whole(colours: object) -> Any:
    """Make whole numbers of those that are written as 128.0."""
    listed = colours.tolist() if hasattr(colours, "tolist") else colours
    if not isinstance(listed, list | tuple):
        return listed
    return [
        [int(part) if isinstance(part, float) and part.is_integer() else part for part in one]
        if isinstance(one, list | tuple)
        else one
        for one in (row.tolist() if hasattr(row, "tolist") else row for row in listed)
    ]


def renumbering(wanted: Sequence[str], known: Sequence[str], owner: str, ignore: int) -> dict[int, int]:
    """Return old label -> new label, for a choice of the classes.

    >>> renumbering(["b"], ["a", "b"], "Data", 255)
    {0: 255, 1: 0}
    """
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"{owner}: metainfo.classes has {unknown[0]!r}, but the data set has {', '.join(known)}")
    return {old: list(wanted).index(name) if name in wanted else ignore for old, name in enumerate(known)}


def known_metainfo(name: str) -> dict[str, Any]:
    """Return classes and palette of a public data set, as seg-vis keeps them."""
    if not name:
        return {}
    from seg_vis import get_classes, get_palette

    return {"classes": tuple(get_classes(name)), "palette": get_palette(name).tolist()}
