"""Names of many files in one piece of memory: a million take some tens of MB, and workers copy none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, overload

import numpy as np
import numpy.typing as npt

__all__ = ["FileRecords", "Texts"]

Record = dict[str, Any]

AT_ONCE = 1 << 14
"""So many texts are taken apart together."""


class Texts(Sequence[str]):
    """Many texts that begin alike and end alike, kept as one piece of bytes with the ends of the texts.

    A list of a million names is a million objects: 85 MB, and a forked worker that looks at them copies their pages.

    Args:
        texts: What differs between them.
        before: What each begins with.
        after: What each ends with.

    >>> names = Texts(["a", "b/c"])
    >>> list(names), names.between("img/", ".png")[1]
    (['a', 'b/c'], 'img/b/c.png')
    """

    def __init__(self, texts: Iterable[str], before: str = "", after: str = "") -> None:
        parts, lengths = bytearray(), [np.zeros(1, np.int64)]
        for some in _in_parts(texts):
            pieces = [text.encode("utf-8", "surrogateescape") for text in some]
            lengths.append(np.fromiter(map(len, pieces), np.int64, len(pieces)))
            parts += b"".join(pieces)
        self._bytes, self._ends = bytes(parts), np.concatenate(lengths).cumsum()
        self.before, self.after = before, after

    def between(self, before: str, after: str) -> Texts:
        """Return the same texts with another beginning and end; the memory is shared."""
        other = object.__new__(Texts)
        other._bytes, other._ends, other.before, other.after = self._bytes, self._ends, before, after
        return other

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        text = self._bytes[self._ends[place] : self._ends[place + 1]].decode("utf-8", "surrogateescape")
        return f"{self.before}{text}{self.after}"

    def __iter__(self) -> Iterator[str]:
        """Return all of them, which is faster than one by one."""
        before, after = self.before, self.after
        for start in range(0, len(self), AT_ONCE):
            ends = self._ends[start : start + AT_ONCE + 1]
            piece = self._bytes[ends[0] : ends[-1]]
            places = (ends - ends[0]).tolist()
            if piece.isascii():
                text = piece.decode("ascii")
                yield from [f"{before}{text[a:b]}{after}" for a, b in pairwise(places)]
            else:
                yield from [
                    f"{before}{piece[a:b].decode('utf-8', 'surrogateescape')}{after}" for a, b in pairwise(places)
                ]

    def take(self, indices: Iterable[int]) -> Texts:
        """Return some of them, in this order."""
        return Texts(map(self.between("", "").__getitem__, indices), self.before, self.after)

    def hashes(self) -> npt.NDArray[np.int64]:
        """Return a number for each text, other ones in each process."""
        return np.fromiter(map(hash, self), np.int64, len(self))


class FileRecords(Sequence[Record]):
    """One record per image, made when it is asked for: `img_path`, and `seg_map_path` where there are labels.

    Args:
        images: Paths of the images.
        labels: Paths of their label maps.
    """

    def __init__(self, images: Texts, labels: Texts | None) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        record: Record = {"img_path": self.images[index]}
        if self.labels is not None:
            record["seg_map_path"] = self.labels[index]
        return record

    def take(self, indices: Sequence[int]) -> FileRecords:
        """Return some of them, in this order."""
        return FileRecords(self.images.take(indices), None if self.labels is None else self.labels.take(indices))


def _in_parts(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in lists of some thousands."""
    rest = iter(texts)
    while some := list(islice(rest, AT_ONCE)):
        yield some
