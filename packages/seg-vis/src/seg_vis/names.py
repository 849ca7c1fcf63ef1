"""Names of samples, classes and files are data: as text for a terminal, and as file names that stay in their folder."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import unicodedata
from collections.abc import Iterator

__all__ = ["FileNames", "file_name", "fitting_parts", "printable"]

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")
_WINDOWS = os.name == "nt"
LONGEST = 180
"""Bytes of a file name: 255 less what is put in front and behind (a mode, a step, an ending)."""


def printable(text: object, lines: bool = True) -> str:
    r"""Return a text with escapes for what a terminal would carry out: colours, bells, a changed direction.

    Args:
        text: Anything that has a text.
        lines: Line breaks and tabs stay; False for a name, which is one line.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    shown = _CONTROL.sub(_escape, str(text))
    return shown if lines else re.sub(r"[\n\t]", _escape, shown)


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def file_name(text: str) -> str:
    """Return a text as one part of a path: no folders, no control characters, not too long, fit for Windows.

    >>> file_name("../x"), file_name("a.b")
    ('.._x', 'a.b')
    """
    name = re.sub(r"[/\\\n\t]", "_", _CONTROL.sub("_", text))
    if _WINDOWS:
        name = re.sub(r'[<>:"|?*]', "_", name).rstrip(". ")
        name = f"_{name}" if _RESERVED.match(name) else name
    if not name.strip("."):
        name = f"_{name}"
    if len(name.encode()) > LONGEST:
        mark = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        name = f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}~{mark}"
    return name


def fitting_parts(name: str) -> str:
    """Shorten parts between `/` that are longer than a file name may be: trackers write files of these names."""
    return "/".join(file_name(part) if len(part.encode()) > LONGEST else part for part in name.split("/"))


class FileNames:
    """Names of what is written about samples: that of the image, as long as no other image has it.

    An image that meets its name already given away (upper and lower case are one) gets the nearest folder that differs
    in front, or, in the same folder, its ending behind: `0001`, then `b_0001`; `x`, then `x.png`. An image keeps its
    name as long as this object lives.

    Args:
        endings: The name holds the image's ending from the start, as in names of pictures.

    >>> names = FileNames()
    >>> [names.of(path) for path in ("a/1.png", "b/1.png", "a/1.jpg", "a/1.png")]
    ['1', 'b_1', '1.jpg', '1']
    """

    def __init__(self, endings: bool = False) -> None:
        self._endings = endings
        self._owners: dict[str, str] = {}

    def of(self, path: str, folder: str = "") -> str:
        """Return the name for the image of this path; `folder`: where it will lie, if not all lie in one."""
        for name in self._candidates(path, folder):
            key = _key(folder, name)
            if self._owners.setdefault(key, path) == path:
                return name
        raise AssertionError("numbers do not end")

    def _candidates(self, path: str, folder: str) -> Iterator[str]:
        *parents, base = _parts(path)
        plain = base if self._endings else os.path.splitext(base)[0]
        yield file_name(plain)
        first = self._owner(folder, plain)
        for prefix in ("", *_prefixes(parents, first[:-1])):
            name = f"{prefix}{plain}"
            yield file_name(name)
            *owners, owner = self._owner(folder, name)
            if owners == parents and _ending(owner) != _ending(base):
                yield file_name(f"{prefix}{base}")
        for number in itertools.count(2):
            yield file_name(f"{plain}_{number}")

    def _owner(self, folder: str, name: str) -> list[str]:
        return _parts(self._owners[_key(folder, file_name(name))])


def _key(folder: str, name: str) -> str:
    """Return what is the same for file systems that do not tell upper from lower case, or two forms of one letter."""
    return unicodedata.normalize("NFC", f"{folder}/{name}").casefold()


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")] or ["sample"]


def _prefixes(parents: list[str], others: list[str]) -> Iterator[str]:
    """Yield the nearest folder that another path does not have there; then that with those below it, and further up."""
    same = 0
    while same < min(len(parents), len(others)) and parents[-same - 1] == others[-same - 1]:
        same += 1
    if same < len(parents):
        yield f"{parents[-same - 1]}_"
    for depth in range(same + 1, len(parents) + 1):
        yield "_".join([*parents[-depth:], ""])


def _ending(base: str) -> str:
    return os.path.splitext(base)[1].lower()
