"""Which images are meant: files, folders and patterns of a command line."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from seg_engine.files import IMAGE_SUFFIXES, images_in, nearest_folder

__all__ = ["find_images"]

Found = list[tuple[Path, Path]]


def find_images(given: Sequence[str], leave_out: str | Path | None = None) -> tuple[Found, list[Exception]]:
    """All images of files, folders and patterns, each once.

    Args:
        given: What the command line has; a path that exists is no pattern, whatever signs it holds.
        leave_out: A folder whose files are no input (what was predicted before), unless one is named itself.

    Returns:
        Each image with the folder that it lies in, below the folder that was given; and an exception for each path
        where there is nothing.
    """
    found: Found = []
    failed: list[Exception] = []
    seen: set[str] = set()
    skip = None if leave_out is None else Path(leave_out).resolve()
    for one in given:
        try:
            images = list(_images_of(one))
        except (OSError, ValueError) as error:
            failed.append(error)
            continue
        for path, below, named in images:
            inside = skip is not None and path.resolve().is_relative_to(skip)
            if os.path.abspath(path) not in seen and (named or not inside):
                found.append((path, below))
            seen.add(os.path.abspath(path))
    return found, failed


def _images_of(given: str) -> Iterator[tuple[Path, Path, bool]]:
    """Image, folder below the given one, and whether it was named itself."""
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
    """The images of a pattern; without an ending of its own it means files with endings of images.

    Raises:
        FileNotFoundError: nothing matches.
    """
    parts = Path(pattern).parts
    base = Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])
    ending = os.path.splitext(parts[-1])[1]
    every = bool(ending) and not glob.has_magic(ending)
    count = 0
    for path in map(Path, sorted(glob.glob(pattern, recursive=True))):
        if path.is_file() and (every or path.suffix.lower() in IMAGE_SUFFIXES):
            count += 1
            yield path, path.relative_to(base).parent, False
        elif path.is_dir() and "**" not in parts:
            for image in images_in(path):
                count += 1
                yield image, image.relative_to(base).parent, False
    if not count:
        raise FileNotFoundError(f"no image matches the pattern {pattern}")
