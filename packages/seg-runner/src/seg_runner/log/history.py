"""One scalar's history: the latest values in a bounded buffer, and sums over everything that was ever added."""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

__all__ = ["HistoryBuffer", "LossWatch"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GATHER = 1024
"""So many values may wait to be taken in."""

OWN_STATISTICS = ("mean", "max", "min", "current")


class HistoryBuffer:
    """The values of one scalar, oldest first, each with the number of things that it sums up.

    Use it to read what a message hub has gathered: `hub.get_scalar("train/loss").mean(50)`. An update costs the same
    whatever lies in the buffer already. Only the latest `max_length` values are kept (8 bytes each, and 8 for the
    count); the mean, minimum and maximum over *everything* stay exact all the same.

    Example:
        >>> loss = HistoryBuffer([4.0, 2.0])
        >>> loss.update(3.0)
        >>> loss.mean(2), loss.min(), loss.current()
        (2.5, 2.0, 3.0)
    """

    _registered: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(
        self, log_history: Iterable[float] = (), count_history: Iterable[int] = (), max_length: int = 10_000
    ) -> None:
        self.max_length = max_length
        self._values = array("d")
        self._counts = array("q")
        self.added: list[float] = []  # since the last reading, each with a count of 1; the hub appends to it, too
        self._updates = 0
        self.asked = 0  # the longest window that was read
        self.loaded = 0  # how many updates came from a checkpoint
        self._sum, self._count = 0.0, 0
        self._min, self._max = float("inf"), float("-inf")
        values = list(log_history)
        counts = list(count_history) or [1] * len(values)
        if len(values) != len(counts):
            raise ValueError(f"{len(values)} values, but {len(counts)} counts: give one count for each value")
        self.extend(values, counts)

    def update(self, log_val: float, count: int = 1) -> None:
        """Add one value; `count` is the number of things that it is the sum of."""
        if count != 1:
            self.extend([log_val], [count])
            return
        self.added.append(log_val)
        if len(self.added) >= GATHER:
            self._gather()

    def _gather(self) -> None:
        """Take in what was added since the last reading: steps only append to a list, readers pay for the rest."""
        if self.added:
            new, self.added = self.added, []
            self.extend(new, [1] * len(new))

    def extend(self, values: list[float], counts: list[int]) -> None:
        """Add several values, each with its count."""
        self._gather()
        self._min, self._max = min([self._min, *values]), max([self._max, *values])
        total = self._sum
        for value in values:  # one by one: the same sum, however the values came in portions
            total += value
        self._sum = total
        self._count += sum(counts)
        self._updates += len(values)
        self._values.extend(values)
        self._counts.extend(counts)
        if len(self._values) >= 2 * self.max_length:
            del self._values[: -self.max_length]
            del self._counts[: -self.max_length]

    @property
    def updates(self) -> int:
        """Return how many values were ever added."""
        return self._updates + len(self.added)

    def reserve(self, length: int) -> None:
        """Keep at least this many values from now on."""
        self.max_length = max(self.max_length, length)

    @property
    def totals(self) -> list[float]:
        """Return what is known of everything that was ever added: how many, sum, sum of counts, smallest, largest."""
        self._gather()
        return [self._updates, self._sum, self._count, self._min, self._max]

    def take_totals(self, totals: Sequence[float]) -> None:
        """Go on from totals of a longer history, of which only the latest values are here."""
        self._gather()
        updates, self._sum, count, self._min, self._max = totals
        self._updates, self._count = int(updates), int(count)

    @property
    def data(self) -> tuple[Floats, Ints]:
        """Return the kept values and their counts, as two arrays of their own."""
        self._gather()
        kept = slice(-self.max_length, None)
        return np.array(self._values[kept], np.float64), np.array(self._counts[kept], np.int64)

    def mean(self, window_size: int | None = None) -> float:
        """Return the sum of the last `window_size` values over that of their counts; of all where it is None or 0."""
        last = self._last(window_size)
        total, count = (self._sum, self._count) if last is None else (float(last[0].sum()), int(last[1].sum()))
        return total / count if count else float("nan")

    def max(self, window_size: int | None = None) -> float:
        """Return the largest of the last `window_size` values, or of all."""
        last = self._last(window_size)
        return self._max if last is None else float(last[0].max())

    def min(self, window_size: int | None = None) -> float:
        """Return the smallest of the last `window_size` values, or of all."""
        last = self._last(window_size)
        return self._min if last is None else float(last[0].min())

    def current(self) -> float:
        """Return the latest value.

        Raises:
            ValueError: if nothing was added yet.
        """
        if not self.updates:
            raise ValueError("the history is empty: update() it before current() is read")
        return float(self.added[-1]) if self.added else self._values[-1]

    def statistics(self, method_name: str, *args: object, **kwargs: object) -> Any:
        """Return the statistic of this name: mean, max, min, current, or one that was registered."""
        if method_name in OWN_STATISTICS:
            return getattr(self, method_name)(*args, **kwargs)
        if method_name not in self._registered:
            raise KeyError(
                f"no statistic is called {method_name!r}; there are {', '.join(self.statistics_names())}; "
                "add one with HistoryBuffer.register_statistics"
            )
        return self._registered[method_name](self, *args, **kwargs)

    @classmethod
    def statistics_names(cls) -> list[str]:
        """Return what `statistics` can be asked for."""
        return [*OWN_STATISTICS, *cls._registered]

    @classmethod
    def register_statistics(cls, method: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function `f(history, window_size=None)` known by its name, for `custom_cfg` of the log processor."""
        cls._registered[method.__name__] = method
        return method

    def _last(self, window_size: int | None) -> tuple[Floats, Ints] | None:
        """Return the last values and their counts; None where these are all that were ever added."""
        self._gather()
        window = window_size or 0
        self.asked = max(self.asked, window)
        if not 0 < window < self.updates:
            return None
        self.reserve(2 * window)
        return np.array(self._values[-window:], np.float64), np.array(self._counts[-window:], np.int64)


class LossWatch:
    """Finds the first step whose loss was not finite, in histories that are read at a log point anyway.

    Example:
        >>> watch, loss = LossWatch(), HistoryBuffer([1.0, float("nan"), float("nan")])
        >>> watch.first({"train/loss": loss, "train/lr": HistoryBuffer([0.1])}, step=3)
        (2, ['loss'])
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._told = False

    def first(self, histories: Mapping[str, HistoryBuffer], step: int) -> tuple[int, list[str]] | None:
        """Return the step (from 1) and its loss terms that are not finite, once; None where all are, or it was told.

        Args:
            histories: All scalars by name; those of `train/` with `loss` in their names are looked at.
            step: The step that has just been made.
        """
        if self._told:
            return None
        found: dict[int, list[str]] = {}
        for name, history in histories.items():
            if name.startswith("train/") and "loss" in name:
                new = history.updates - self._seen.get(name, history.loaded)
                self._seen[name] = history.updates
                if new > 0 and not math.isfinite(history.totals[1]):
                    back = _since_not_finite(history.data[0][-new:])
                    if back is not None:
                        found.setdefault(step - back, []).append(name.removeprefix("train/"))
        self._told = bool(found)
        return min(found.items()) if found else None

    @staticmethod
    def tell(step: int, what: str, logger: logging.Logger) -> None:
        """Warn of the first step whose loss is not finite; `what`: 'loss is', 'a loss of rank 2 is'."""
        logger.warning(
            "iteration %d: %s not finite, for the first time. Training goes on; a checkpoint with weights that "
            "are not finite is marked. NanGuardHook stops at such a step and says which samples were in it.",
            step,
            what,
        )


def _since_not_finite(values: Floats) -> int | None:
    """Return how many steps before the last the first value stands that is not finite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return int(len(values) - 1 - bad[0]) if len(bad) else None
