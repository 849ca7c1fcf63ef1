"""Which images are meant: files, folders and patterns of a command line."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from seg_engine.data.files import IMAGE_SUFFIXES, files_below, images_in, nearest_folder

__all__ = ["find_images"]

Found = list[tuple[Path, Path]]


def find_images(given: Sequence[str], leave_out: Sequence[Path] = ()) -> tuple[Found, list[Exception]]:
    """Return all images of files, folders and patterns, each once.

    Args:
        given: What the command line has; a path that exists is no pattern, whatever signs it holds.
        leave_out: Folders whose files are no input (what was predicted before), unless one is named itself.

    Returns:
        Each image with the folder that it lies in, below the folder that was given; and an exception for each path
        where there is nothing, or nothing but what is left out.
    """
    found: Found = []
    failed: list[Exception] = []
    seen: set[str] = set()
    skipped = [folder.resolve() for folder in leave_out]
    for one in given:
        try:
            images = list(_images_of(one))
        except (OSError, ValueError) as error:
            failed.append(error)
            continue
        inputs = 0
        for path, below, named in images:
            inside = any(path.resolve().is_relative_to(folder) for folder in skipped)
            if inside and not named:
                continue
            inputs += 1
            if os.path.abspath(path) not in seen:
                found.append((path, below))
            seen.add(os.path.abspath(path))
        if not inputs:
            failed.append(FileNotFoundError(f"all images of {one} are what was predicted before: name them one by one"))
    return found, failed


def _images_of(given: str) -> Iterator[tuple[Path, Path, bool]]:
    """Image, folder below the given one, and whether it was named itself."""
    if not given:
        raise ValueError("an empty path was given as an image; the current folder is '.'")
    path = Path(given).expanduser()
    if path.is_dir():
        yield from ((image, image.relative_to(path).parent, False) for image in images_in(path))
    elif path.exists() or not glob.has_magic(given):
        if not path.exists():
            raise FileNotFoundError(f"there is no image, folder or pattern {given} ({nearest_folder(path)})")
        yield path, Path(), True
    else:
        yield from _matches(str(path))


def _matches(pattern: str) -> Iterator[tuple[Path, Path, bool]]:
    """Return the images of a pattern; without an ending of its own it means files with endings of images.

    Raises:
        FileNotFoundError: nothing matches.
    """
    parts = Path(pattern).parts
    base = Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])
    ending = os.path.splitext(parts[-1])[1]
    every = bool(ending) and not glob.has_magic(ending)
    count = 0
    for path in _in_folders_below(parts) if "**" in parts else map(Path, sorted(glob.glob(pattern))):
        if path.is_file() and (every or path.suffix.lower() in IMAGE_SUFFIXES):
            count += 1
            yield path, path.relative_to(base).parent, False
        elif path.is_dir():
            for image in images_in(path):
                count += 1
                yield image, image.relative_to(base).parent, False
    if not count:
        raise FileNotFoundError(f"no image matches the pattern {pattern}")


def _in_folders_below(parts: Sequence[str]) -> Iterator[Path]:
    """Return the files of a pattern with `**`; each folder is read once, as links may lead back to where they lie."""
    first = parts.index("**")
    for folder in sorted(glob.glob(str(Path(*parts[:first])))):
        if os.path.isdir(folder):
            inside = (path for path in files_below(folder) if _fits(path.relative_to(folder).parts, parts[first:]))
            yield from inside


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Tell whether the folders and the file of a path are those of a pattern; `**` is any number of folders.

    >>> _fits(("a", "b", "1.png"), ("**", "*.png")), _fits(("a", "1.png"), ("*.png",))
    (True, False)
    """
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_fits(names[start:], parts[1:]) for start in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatch(names[0], parts[0]) and _fits(names[1:], parts[1:])
