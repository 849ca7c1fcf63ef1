"""Which images a data set has: those of a folder, or those that a list names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_engine.data.files import IMAGE_SUFFIXES, files_below, nearest_folder

__all__ = ["Listing", "found_in", "named_by", "read_list"]

PICTURES = (*IMAGE_SUFFIXES, ".gif", ".heic", ".heif", ".avif", ".jp2")
"""Ends of files that somebody may take for images of the data set."""


@dataclass(frozen=True)
class Listing:
    """Image files and what their label maps are called.

    Attributes:
        images: Paths.
        names: Paths of the label maps without their suffix, below the label folder; as many.
        left_out: How many other pictures the folder holds, by suffix.
    """

    images: list[str]
    names: list[str]
    left_out: dict[str, int]


def found_in(folder: Path, suffixes: Sequence[str], labels: tuple[Path, str] | None) -> Listing:
    """Return the images of a folder and those below it, by name.

    Args:
        folder: Where to look.
        suffixes: Ends of image files, as they are written.
        labels: The label folder and the end of its files: these are not counted as left out.

    Raises:
        FileNotFoundError: an image is a link that leads nowhere.
        ValueError: there is none.
    """
    images: list[str] = []
    names: list[str] = []
    others: Counter[str] = Counter()
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        suffix = next((end for end in suffixes if name.endswith(end)), None)
        if suffix is not None:
            images.append(str(path))
            names.append(name.removesuffix(suffix))
        elif not (labels and path.is_relative_to(labels[0]) and name.endswith(labels[1])):
            others[path.suffix] += 1
    if not images:
        seen = f"there are files with {', '.join(sorted(filter(None, others)))}" if any(others) else "it holds no files"
        raise ValueError(f"no {' or '.join(f'*{end}' for end in suffixes)} in {folder} ({seen}); see img_suffix")
    _check_links(images, folder)
    order = sorted(range(len(names)), key=names.__getitem__)
    pictures = {end: count for end, count in sorted(others.items()) if end.lower() in PICTURES}
    return Listing([images[i] for i in order], [names[i] for i in order], pictures)


def _check_links(images: Sequence[str], folder: Path) -> None:
    dead = [path for path in images if not os.path.exists(path)]
    if dead:
        raise FileNotFoundError(
            f"{len(dead)} of {len(images)} images of {folder} are links that lead nowhere, the first one is "
            f"{min(dead)}: mend the links, or delete them"
        )


def read_list(path: Path) -> list[str]:
    """Return the lines of a text file of names; a byte-order mark, empty lines and spaces round a name do no harm.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8 (or UTF-16 with a byte-order mark), or lists nothing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"ann_file: there is no file {path} ({nearest_folder(path)})")
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"ann_file: {path}, line {line}, is not UTF-8 text; save the list as UTF-8") from error
    if "\0" in text:
        raise ValueError(f"ann_file: {path} is no list of names in UTF-8 (it holds zero bytes); save it as UTF-8 text")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise ValueError(f"ann_file: {path} lists no image")
    return names


def named_by(lines: Sequence[str], folder: Path, suffixes: Sequence[str], source: Path) -> Listing:
    """Return the images of a list; a name has a suffix or not, lies in a subfolder or not, is absolute or not.

    Raises:
        FileNotFoundError: an image is not there; the message counts them and names the first.
    """
    images: list[str] = []
    names: list[str] = []
    missing: list[str] = []
    for line in lines:
        image, name = _located(line, folder, suffixes)
        if image is None:
            missing.append(line)
        images.append(image or "")
        names.append(name)
    if missing:
        first = ", ".join(map(repr, missing[:3])) + (", ..." if len(missing) > 3 else "")
        several = " (one name per line is expected)" if any(len(line.split()) > 1 for line in missing) else ""
        raise FileNotFoundError(
            f"ann_file: {len(missing)} of {len(lines)} images of {source} are not there{several}: {first}; looked for "
            f"{folder / (missing[0] + suffixes[0])}; see data_prefix.img_path and img_suffix={_shown(suffixes)}"
        )
    if len(set(names)) < len(set(images)):
        raise ValueError(
            f"ann_file: {source} names images of several folders that have the same name, so that their label maps "
            "cannot be told apart: list names below data_prefix.img_path"
        )
    return Listing(images, names, {})


def _located(line: str, folder: Path, suffixes: Sequence[str]) -> tuple[str | None, str]:
    """Return the file that a line means, or None, and the name of its label map without suffix."""
    for end in suffixes:
        path = str(folder / f"{line}{end}")
        if os.path.isfile(path):
            return path, _below(line, folder)
    for end in filter(line.endswith, suffixes):
        path = str(folder / line)
        if os.path.isfile(path):
            return path, _below(line.removesuffix(end), folder)
    return None, line


def _below(name: str, folder: Path) -> str:
    """Return an absolute name as one below the image folder, or its last part: label maps lie in their own folder."""
    path = Path(name)
    if not path.is_absolute():
        return name
    return path.relative_to(folder.absolute()).as_posix() if path.is_relative_to(folder.absolute()) else path.name


def _shown(suffixes: Sequence[str]) -> str:
    return repr(suffixes[0] if len(suffixes) == 1 else tuple(suffixes))
