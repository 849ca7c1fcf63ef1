"""Where each value came from: marks kept for the keys of a dict, read back as a chain.

A `Marked` dict has `_marks_` (key -> mark) and `_file_`. A mark is a line number in `_file_`, or, once files have
been merged, a chain: a tuple of `(file, line)` or `(file, line, note)`. Marks are never changed in place, so dicts may
share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["NO_MARKS", "OVERRIDE", "Chain", "Mark", "Origin", "chain_of", "origin_of", "place_of"]

Chain = tuple[tuple[Any, ...], ...]

NO_MARKS: dict[Any, Any] = {}
OVERRIDE = "<override>"


class Mark(NamedTuple):
    """One place that set a value or passed it on: `file:line`, or an override with its text in `note`."""

    file: str
    line: int
    note: str = ""

    def __str__(self) -> str:
        if self.file == OVERRIDE:
            return f"override {self.note}"
        return f"{_short(self.file)}:{self.line}" + (f" (through {self.note})" if self.note else "")


class Origin(tuple[Mark, ...]):
    """The chain of marks of one value, the first setting first; `str()` joins them with arrows."""

    __slots__ = ()

    def __str__(self) -> str:
        return " -> ".join(str(mark) for mark in self) or "unknown"

    __repr__ = __str__


def _insert(marks: list[tuple[Any, ...]], mark: tuple[Any, ...]) -> None:
    """Put a mark after the last one of the same file, or at the end."""
    same = [position for position, each in enumerate(marks) if each[0] == mark[0]]
    marks.insert(same[-1] + 1 if same else len(marks), mark)


def _elsewhere(mark: tuple[Any, ...], depth: int, index: int) -> bool:
    """Tell whether a mark is an override of another element of a list than the one at `depth` of the path."""
    if mark[0] != OVERRIDE:
        return False
    words = str(mark[2]).partition("=")[0].split(".")
    return len(words) > depth and words[depth].isdigit() and int(words[depth]) != index


def _short(path: str) -> str:
    """Return the path relative to the working folder, where it lies inside it."""
    import os

    here = os.getcwd() + os.sep
    return path[len(here) :] if path.startswith(here) else path


def chain_of(table: Any, key: object) -> Chain:
    """Return the chain of one key of one dict; empty for a dict without marks and for a key without one."""
    mark: Chain | int | None = getattr(table, "_marks_", NO_MARKS).get(key)
    if mark is None:
        return ()
    return ((table._file_, mark),) if type(mark) is int else mark  # type: ignore[return-value]


def place_of(table: object, key: object = "type") -> str:
    """Return `file:line` of the last mark of a key, or of any key of this dict; '' where nothing is known."""
    marks: Mapping[Any, Any] = getattr(table, "_marks_", NO_MARKS)
    for each in (key, *marks):
        chain = chain_of(table, each)
        if chain:
            return str(Mark(*chain[-1]))
    return ""


def origin_of(root: object, steps: Iterable[Any], files: list[str]) -> Origin:
    """Return the chain of the value at the end of `steps`, with the assignments that passed it on, bases first."""
    chain: Chain = ()
    through: list[Chain] = []
    here: Any = root
    for depth, step in enumerate(steps):
        found = chain_of(here, step)
        if not isinstance(here, dict):
            chain = tuple(mark for mark in chain if not _elsewhere(mark, depth, step))
        through.append(tuple(mark for mark in chain if len(mark) > 2))
        chain = found if found or isinstance(here, dict) else chain
        here = here[step]
    marks = list(chain)
    for each in reversed(through):
        for mark in each:
            if mark not in marks:
                _insert(marks, mark)
    order = {file: position for position, file in enumerate(files)}
    marks.sort(key=lambda mark: order.get(mark[0], len(files)))
    if chain:
        marks = marks[marks.index(chain[0]) :]  # what was assigned before the value was there is not its story
    return Origin(Mark(*mark) for mark in dict.fromkeys(marks))
