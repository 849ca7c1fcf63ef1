"""Which of many files are there: one look into each folder, not one at each file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from seg_engine.data.packed import Texts

__all__ = ["absent", "all_there"]

Hashes = npt.NDArray[np.int64]

MOST_OTHERS = 16
"""A folder is left once it has shown so many times more files than are looked for in it."""


def absent(paths: Texts, is_there: Callable[[str], bool] = os.path.exists) -> list[str]:
    """Return the files that are not there.

    Asking the system for each of a million takes seconds, on a network's file system minutes; reading the folders that
    they lie in, a tenth. Only what no folder shows by this very name (links, names in other spelling) is asked for.
    Names are compared by their hash of 64 bits: one missing file among a million is overlooked once in 10 million runs.

    Args:
        paths: The files.
        is_there: How to ask for one of them.
    """
    folders = Counter(path[: path.rfind("/") + 1] for path in paths)
    shown = np.fromiter((hash(path) for folder, count in folders.items() for path in _in(folder, count)), np.int64)
    wanted = paths.hashes()
    unseen = _without(wanted, shown)
    places = np.flatnonzero(np.isin(wanted, unseen)) if unseen.size else unseen
    return [path for path in map(paths.__getitem__, places.tolist()) if not is_there(path)]


def _without(wanted: Hashes, shown: Hashes) -> Hashes:
    """Return the wanted numbers that are not shown: two sorts, a thirtieth of the time of numpy's set functions.

    >>> _without(np.array([3, 1, 2]), np.array([2, 3])).tolist()
    [1]
    """
    if not shown.size:
        return wanted
    wanted, shown = np.sort(wanted), np.sort(shown)
    nearest = shown[np.minimum(np.searchsorted(shown, wanted), shown.size - 1)]
    missing: Hashes = wanted[nearest != wanted]
    return missing


def all_there(paths: Texts) -> bool:
    """Tell whether all of these are files."""
    first, last = paths[0], paths[-1]  # where these are not there, the folders need no look
    return os.path.isfile(first) and os.path.isfile(last) and not absent(paths, os.path.isfile)


def _in(folder: str, count: int) -> Iterator[str]:
    """Yield the paths of files that a folder shows: no links, and none where it cannot be read.

    Args:
        folder: Its path with a slash at the end; empty for the working directory.
        count: How many files are looked for in it.
    """
    try:
        with os.scandir(folder or ".") as entries:
            for entry in islice(entries, MOST_OTHERS * count):
                if entry.is_file(follow_symlinks=False):
                    yield f"{folder}{entry.name}"
    except OSError:
        return
