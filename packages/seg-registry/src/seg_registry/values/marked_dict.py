"""Values while a config is being evaluated: dicts with marks, and the dotted names that imports stand for."""

from __future__ import annotations

from typing import Any

from seg_registry.values.origins import NO_MARKS

__all__ = ["MAX_DEPTH", "MISSING", "DottedName", "Marked", "MarkedDict", "is_index"]

MISSING: Any = object()  # tells "there is no value" from the value None
MAX_DEPTH = 100  # of values within values


class Marked(dict[Any, Any]):
    """A dict that knows where its keys came from: what the evaluator builds, and what the user gets."""

    __slots__ = ("_file_", "_marks_")
    _file_: str
    _marks_: dict[Any, Any]


class MarkedDict(Marked):
    """A dict as the evaluator builds it: it behaves as a dict. Kept and shared, so never changed once it is done."""

    __slots__ = ()

    def __init__(self, *args: Any, file: str = "", marks: dict[Any, Any] | None = None) -> None:
        super().__init__(*args)
        self._file_ = file
        self._marks_ = NO_MARKS if marks is None else marks

    def with_values(self, values: dict[Any, Any]) -> MarkedDict:
        """Return a dict of other values that has the marks of this one."""
        return MarkedDict(values, file=self._file_, marks=self._marks_)


class DottedName(str):
    """The dotted name that an import in a config stands for; nothing is imported."""

    __slots__ = ()


def is_index(step: object) -> bool:
    """Tell whether a step of a dotted path is a whole number, maybe negative."""
    digits = step[1:] if isinstance(step, str) and step.startswith("-") else step
    return isinstance(digits, str) and digits.isdecimal() and digits.isascii()
