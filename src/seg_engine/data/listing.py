"""Which images a data set has: those of a folder, or those that a list names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_engine.data.files import IMAGE_SUFFIXES, folders_below, nearest_folder
from seg_engine.data.packed import Texts
from seg_engine.data.present import all_there

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

    images: Texts
    names: Texts
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
    found: list[str] = []  # name and suffix with a zero byte between, which no name holds, and which sorts first
    others: Counter[str] = Counter()
    dead: list[str] = []
    for here, files, links in folders_below(folder):
        below = "" if here == str(folder) else f"{Path(here).relative_to(folder).as_posix()}/"
        paths = [f"{below}{name}" for name in files] if below else files
        rest = _add(found, paths, suffixes)
        for path in (f"{below}{name}" for name in links):
            if _add(found, [path], suffixes):
                rest.append(path)
            elif not os.path.exists(folder / path):
                dead.append(str(folder / path))
        own = labels[1] if labels and Path(here).is_relative_to(labels[0]) else None
        others.update(_suffix(path) for path in rest if own is None or not path.endswith(own))
    if not found:
        seen = f"there are files with {', '.join(sorted(filter(None, others)))}" if any(others) else "it holds no files"
        raise ValueError(f"no {' or '.join(f'*{end}' for end in suffixes)} in {folder} ({seen}); see img_suffix")
    if dead:
        raise FileNotFoundError(
            f"{len(dead)} of {len(found)} images of {folder} are links that lead nowhere, the first one is "
            f"{min(dead)}: mend the links, or delete them"
        )
    found.sort()
    pictures = {end: count for end, count in sorted(others.items()) if end.lower() in PICTURES}
    if len(suffixes) == 1:
        names = Texts(found)
        return Listing(names.between(beginning(folder), suffixes[0]), names, pictures)
    images = Texts((path.replace("\0", "") for path in found), beginning(folder))
    return Listing(images, Texts(path.partition("\0")[0] for path in found), pictures)


def _add(found: list[str], paths: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Add what ends with a suffix; returns the rest."""
    if len(suffixes) == 1:
        end = suffixes[0]
        cut = -len(end) or None
        taken = [path[:cut] for path in paths if path.endswith(end)]
        found += taken
        return [] if len(taken) == len(paths) else [path for path in paths if not path.endswith(end)]
    rest: list[str] = []
    for path in paths:
        suffix = next((end for end in suffixes if path.endswith(end)), None)
        if suffix is None:
            rest.append(path)
        else:
            found.append(f"{path.removesuffix(suffix)}\0{suffix}")
    return rest


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].removesuffix(".") or ""


def beginning(folder: Path) -> str:
    """Return what the paths of a folder's files begin with.

    >>> beginning(Path("data")), beginning(Path())
    ('data/', '')
    """
    return "" if folder == Path() else os.path.join(folder, "")


def read_list(path: Path) -> Texts:
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
    names = Texts(filter(None, map(str.strip, text.splitlines())))
    if not len(names):
        raise ValueError(f"ann_file: {path} lists no image")
    return names


def named_by(lines: Texts, folder: Path, suffixes: Sequence[str], source: Path) -> Listing:
    """Return the images of a list; a name has a suffix or not, lies in a subfolder or not, is absolute or not.

    Raises:
        FileNotFoundError: an image is not there; the message counts them and names the first.
    """
    if not any(map(_is_own_way, lines)):
        for end in suffixes:
            images = lines.between(beginning(folder), end)
            if all_there(images):
                return Listing(images, lines, {})
            if all(line.endswith(end) for line in lines):
                names = Texts(line.removesuffix(end) for line in lines)
                images = names.between(beginning(folder), end)
                if all_there(images):
                    return Listing(images, names, {})
    return _named_one_by_one(lines, folder, suffixes, source)


def _is_own_way(line: str) -> bool:
    """Tell whether a name is absolute, or says its path in a longer way than needed."""
    return line[0] in "/\\." or ":" in line or "//" in line or "/." in line


def _named_one_by_one(lines: Texts, folder: Path, suffixes: Sequence[str], source: Path) -> Listing:
    """Return the images of a list whose names are not all of one form."""
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
    return Listing(Texts(images), Texts(names), {})


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
