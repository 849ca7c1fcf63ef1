"""Colours and class names: those of the known data sets, and palettes made for any number of classes."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_vis.arrays import to_numpy
from seg_vis.checks import check_whole, did_you_mean
from seg_vis.drawing.generated_palettes import generate_palette

__all__ = ["Palette", "get_classes", "get_palette", "is_made", "resolve"]

Palette = NDArray[np.uint8]
MOST = 255
"""Labels of a byte, one of which is left for pixels without a label."""
MADE = {"distinct": False, "colourblind": True, "colorblind": True}


@cache
def plain(name: str) -> str:
    """Return a name without case, blanks, dashes and underscores."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def table() -> dict[str, dict[str, Any]]:
    """Return the data sets of `palettes.json`."""
    return dict(json.loads((files("seg_vis") / "palettes.json").read_text(encoding="utf-8")))


@cache
def known() -> dict[str, dict[str, Any]]:
    """Return the data sets by each of their names in plain form."""
    return {plain(alias): entry for name, entry in table().items() for alias in (name, *entry["aliases"])}


def entry_of(name: str) -> dict[str, Any]:
    """Return what is known of one data set."""
    if not isinstance(name, str):
        raise TypeError(f"a data set is given by its name, got {name!r}")
    if plain(name) in known():
        return known()[plain(name)]
    if is_made(name):
        raise ValueError(f"palette {name!r} is made to measure and has no class names")
    hint = did_you_mean(plain(name), [*known(), "distinct", "colourblind"], 3) or "."
    raise ValueError(f"no data set is called {name!r}{hint} Known: {', '.join(table())}, distinct, colour_blind")


def get_classes(dataset: str) -> list[str]:
    """Return class names of a known data set, in label order.

    Known are Cityscapes, ADE20K, Pascal VOC, Pascal Context (59 and 60), COCO-Stuff (171), LoveDA, iSAID, Potsdam and
    Vaihingen, under the names that MMSegmentation configs use.

    Raises:
        ValueError: another name; near ones are listed.

    Example:
        >>> get_classes("cityscapes")[:3]
        ['road', 'sidewalk', 'building']
    """
    return list(entry_of(dataset)["classes"])


def get_palette(palette: object, count: int | None = None) -> Palette:
    """Return colours as an N x 3 uint8 array, RGB, one row a label.

    Args:
        palette: the name of a data set, `"distinct"` or `"colour_blind"` (made for `count` labels), or N colours
            of three numbers from 0 to 255.
        count: how many colours a made palette has.

    Raises:
        ValueError: a name that is not known, values out of range, or no `count` for a made palette.

    Example:
        >>> get_palette("cityscapes")[0]
        array([128,  64, 128], dtype=uint8)
        >>> get_palette("colour_blind", 12).shape
        (12, 3)
    """
    count = None if count is None else check_whole(count, "count")
    if isinstance(palette, str):
        return named_palette(palette, count)
    try:
        colours = to_numpy(palette, "palette")
    except TypeError as error:
        raise TypeError(
            "palette must be the name of a data set, 'distinct', 'colour_blind' or N colours of three numbers, "
            f"got {reprlib.repr(palette)} (names of classes go into classes=)"
        ) from error
    if colours.ndim != 2 or colours.shape[1] != 3 or not len(colours):
        raise ValueError(f"palette must be N colours of three numbers, got shape {colours.shape}")
    if colours.dtype.kind == "f" or colours.min() < 0 or colours.max() > 255:
        raise ValueError(
            "palette must hold whole numbers from 0 to 255, "
            f"got {colours.dtype} from {colours.min()} to {colours.max()}"
        )
    return np.ascontiguousarray(colours, dtype=np.uint8)


def is_made(name: str) -> bool:
    """Tell whether this is a palette made to measure, not one of a data set."""
    return plain(name) in MADE


@cache
def stored_palette(name: str) -> Palette:
    """Return the palette of a data set; nobody may write into it."""
    palette = np.array(entry_of(name)["palette"], np.uint8)
    palette.flags.writeable = False
    return palette


def named_palette(name: str, count: int | None) -> Palette:
    """Return the palette of a data set, or a made one."""
    if not is_made(name):
        return stored_palette(name)
    if count is None:
        raise ValueError(f"palette {name!r} is made to measure: pass classes, or count, the number of colours")
    return generate_palette(count, colour_blind=MADE[plain(name)])


def resolve(palette: object, classes: Sequence[str] | None) -> Palette:
    """Return the palette to draw with; its length must be that of `classes` where both are given.

    A made palette has as many colours as there are classes, or 255: the first ones are the same in both.
    """
    if isinstance(classes, str | Mapping) or not (classes is None or hasattr(classes, "__getitem__")):
        raise TypeError(f"classes must be a list of names, one a label in their order, got {reprlib.repr(classes)}")
    count = len(classes) if classes is not None else None
    colours = get_palette(palette, MOST if count is None else count)
    if classes is not None and len(classes) != len(colours):
        raise ValueError(f"{len(classes)} classes and {len(colours)} colours: there must be one colour a class")
    return colours
