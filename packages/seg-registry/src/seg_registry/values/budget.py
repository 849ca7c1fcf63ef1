"""How much work, size and depth a config may ask for: counted, not timed, and checked before the work is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from seg_registry.errors import LimitError
from seg_registry.values.marked_dict import MAX_DEPTH

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Budget"]

MAX_BYTES = 256 * 1024  # of a config file: parsing needs up to 1,000 times as much memory
MAX_UNITS = 500_000  # of work for a file: a unit is one small step, or 16 characters
MAX_TEXT = 200_000  # characters of a string made by an operation
MAX_BITS = 10_000  # of an integer made by an operation: 3,010 digits, so that every one can be printed
_CONTAINERS = (list, tuple, dict, set, frozenset)
_TEXTS = (str, bytes)  # made once: `str | bytes` inside a call is made anew each time


class Budget:
    """The work that is left for one file; spending more than there is raises LimitError."""

    __slots__ = ("left",)

    def __init__(self, units: int = MAX_UNITS) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Take units away before the work that they stand for."""
        self.left -= units
        if self.left < 0:
            raise LimitError("loading this config takes more work than is allowed (nested loops, or values that grow)")

    def spend_on(self, value: object) -> int:
        """Take away what walking through a value costs, shared parts counted as often as they occur."""
        before = self.left
        if isinstance(value, _CONTAINERS):
            self._walk(value, 0)
        elif isinstance(value, str | bytes) and len(value) > 1000:
            self.spend(len(value) >> 4)
        elif type(value) is int:
            self.spend(check_size(value).bit_length() >> 8)
        return before - self.left

    def _walk(self, value: Collection[object], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise LimitError(f"values are nested more than {MAX_DEPTH} deep")
        self.spend(1 + len(value))
        if isinstance(value, dict):
            self._walk_items([key for key in value if type(key) is not str or len(key) > 64], depth)
            value = value.values()
        self._walk_items(value, depth)

    def _walk_items(self, values: Iterable[object], depth: int) -> None:
        for each in values:
            if isinstance(each, _CONTAINERS):
                self._walk(each, depth + 1)
            elif isinstance(each, _TEXTS):
                self.spend(len(each) >> 4)
            elif type(each) is int and each.bit_length() > 64:
                self.spend(each.bit_length() >> 4)

    def spend_on_range(self, value: range) -> None:
        """Take away what walking through a range costs."""
        try:
            self.spend(len(value))
        except OverflowError:
            raise LimitError("the range has more than 2**63 numbers") from None

    def spend_on_shown(self, value: object) -> int:
        """Return how many characters a value has at most when it is shown; walking through it is paid for."""
        spent = self.spend_on(value)
        if isinstance(value, str | bytes):
            return len(value)
        # a number of MAX_BITS has 3,010 digits; anything else shows at most 32 characters for a unit of work
        return 3100 if isinstance(value, int | float | complex) and spent else 32 * (1 + spent)

    def spend_on_text(self, length: int) -> None:
        """Check the length of a string and take away what it costs, before it is made."""
        if length > MAX_TEXT:
            message = f"a string made in a config may have at most {MAX_TEXT:,} characters, this one has {length:,}"
            raise LimitError(message)
        self.spend(length >> 4)

    def spend_on_keys(self, count: int) -> None:
        """Take away what building a dict or set of this many keys costs at worst (all keys in one bucket)."""
        self.spend(count + count * count // 50 if count > 64 else count)


def check_size(value: int) -> int:
    """Return the integer, if it is not too large to be printed."""
    if value.bit_length() > MAX_BITS:
        raise LimitError(f"an integer has more than {MAX_BITS} bits")
    return value
