"""Values while a config is being evaluated: dicts with marks, and the dotted names that imports stand for."""

from __future__ import annotations

from typing import Any

from seg_registry.values.origins import NO_MARKS

__all__ = ["MAX_DEPTH", "MISSING", "Dotted", "Draft", "is_index"]

MISSING: Any = object()
MAX_DEPTH = 100  # of values within values


class Draft(dict[Any, Any]):
    """A dict as the evaluator builds it: plain behaviour, with marks. Kept and shared, so never changed once done."""

    __slots__ = ("_file_", "_marks_")

    def __init__(self, *args: Any, file: str = "", marks: dict[Any, Any] | None = None) -> None:
        super().__init__(*args)
        self._file_ = file
        self._marks_: dict[Any, Any] = NO_MARKS if marks is None else marks


class Dotted(str):
    """The dotted name that an import in a config stands for; nothing is imported."""

    __slots__ = ()


def is_index(step: Any) -> bool:
    """Whether a step of a dotted path is a whole number, maybe negative."""
    digits = step[1:] if isinstance(step, str) and step.startswith("-") else step
    return isinstance(digits, str) and digits.isdecimal() and digits.isascii()
