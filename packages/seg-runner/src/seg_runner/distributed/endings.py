"""How a rank leaves a run before its end, and what the other ranks raise then."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

__all__ = ["Ending", "OtherRankError", "is_told_elsewhere", "show_once", "words_of"]

LONGEST = 1000
"""Letters of an error that go from rank to rank."""
TOLD = "_told_by_another_rank"


class OtherRankError(RuntimeError):
    """What failed on another rank; its own log has the traceback.

    Attributes:
        rank: The rank on which it failed.
        unsaid: Whether that rank could not say it itself, as one that was killed.
    """

    def __init__(self, rank: int, text: str, unsaid: bool = False) -> None:
        super().__init__(f"rank {rank}: {text}")
        self.rank, self.unsaid = rank, unsaid


@dataclass(frozen=True)
class Ending:
    """How one rank has left a run before its end.

    Attributes:
        rank: The rank.
        text: What was wrong.
        log: Its log file, where there is one.
        signal: The number of the signal that it left for; 0 where it failed.
        at_once: Whether it was told to leave at once, without saving.
        unsaid: Whether others have found it out.

    >>> print(Ending(2, "ValueError: no such class", log="out/20260101_120000_rank2.log"))
    ValueError: no such class (see out/20260101_120000_rank2.log)
    """

    rank: int
    text: str
    log: str = ""
    signal: int = 0
    at_once: bool = False
    unsaid: bool = False

    def __str__(self) -> str:
        return f"{self.text} (see {self.log})" if self.log else self.text

    @property
    def code(self) -> int:
        """Return the exit code of a process that ends for this reason."""
        return 128 + self.signal if self.signal else 1

    def error(self) -> OtherRankError:
        """Return what the other ranks raise."""
        return OtherRankError(self.rank, str(self), self.unsaid)

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Ending:
        """Return what a text says."""
        return Ending(**json.loads(text))


def words_of(error: BaseException) -> str:
    """Return one line for an error: its kind, what it says, and its notes.

    >>> error = ValueError("no such class")
    >>> error.add_note("in training iteration 7")
    >>> words_of(error)
    'ValueError: no such class; in training iteration 7'
    """
    text = str(error)
    if "Traceback (most recent call last)" in text:  # of a worker: what was wrong stands below it
        lines = text.splitlines()
        calls = [number for number, line in enumerate(lines) if line.startswith("  ")]
        text = "\n".join([lines[0], *lines[calls[-1] + 1 if calls else 1 :]])
    said = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    notes = [line for note in getattr(error, "__notes__", ()) for line in note.splitlines()]
    words = "; ".join([f"{type(error).__name__}: {said}" if said else type(error).__name__, *notes])
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} ..."


def tell_elsewhere(error: BaseException) -> None:
    """Mark an error that another rank shows with its traceback."""
    error.__dict__[TOLD] = True


def is_told_elsewhere(error: BaseException) -> bool:
    """Tell whether another rank shows this error with its traceback, so that one line is enough here."""
    return isinstance(error, OtherRankError) or TOLD in getattr(error, "__dict__", {})


def show_once(rank: int) -> None:
    """Have this process show what another rank tells in one line, where the error is not caught."""
    if not isinstance(sys.excepthook, _Hook):
        sys.excepthook = _Hook(rank, sys.excepthook)
    sys.excepthook.rank = rank


class _Hook:
    """Shows errors that nobody has caught: those of this rank as ever, those of another one in a line."""

    def __init__(self, rank: int, before: Callable[..., Any]) -> None:
        self.rank, self.before = rank, before

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not is_told_elsewhere(error):
            self.before(kind, error, trace)
            return
        words = str(error) if isinstance(error, OtherRankError) else words_of(error)
        print(f"rank {self.rank} ends: {words}", file=sys.stderr, flush=True)
