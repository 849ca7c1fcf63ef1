"""The values of a log point over all ranks, in one exchange: means, the slowest time, the most memory."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Mapping

from seg_runner.distributed.world import World
from seg_runner.log.history import LossWatch

__all__ = ["AcrossRanks", "across_ranks"]

ROOM = 64
"""Values of one log point that are exchanged; what a rank has beyond that is shown as it is there."""
SLOWEST = ("time", "data_time")


class AcrossRanks:
    """Brings the values of a log point together. They travel with a mark of their name, since ranks may differ in that.

    Args:
        world: The processes of the run.

    Attributes:
        bad: The first step of this rank whose loss was not finite, with the loss's terms, at this log point.

    >>> AcrossRanks(World()).reduce({"train/loss": 0.5}, memory=None)
    ({'train/loss': 0.5}, None)
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.bad: tuple[int, list[str]] | None = None
        self._others: list[tuple[float, int]] = []  # steps with such a loss, and the rank
        self._told = False

    def reduce(self, values: Mapping[str, float], memory: int | None) -> tuple[dict[str, float], int | None]:
        """Return the values over all ranks, and the most memory; called by all at the same log point."""
        if self.world.size == 1:
            return dict(values), memory
        row = [float("nan") if memory is None else float(memory), float("nan") if self.bad is None else self.bad[0]]
        for name in sorted(values)[:ROOM]:
            row += [float(zlib.crc32(name.encode())), float(values[name])]
        row += [-1.0, 0.0] * (ROOM - min(len(values), ROOM))
        rows = self.world.rows(row)
        self._others = [(row[1], rank) for rank, row in enumerate(rows) if not math.isnan(row[1])]
        found: dict[float, list[float]] = {}
        for each in rows:
            for mark, value in zip(each[2::2], each[3::2], strict=True):
                found.setdefault(mark, []).append(value)
        reduced = {name: _reduced(name, value, found) for name, value in values.items()}
        most = [row[0] for row in rows if not math.isnan(row[0])]
        return reduced, int(max(most)) if most else memory

    def warn(self, logger: logging.Logger) -> None:
        """Warn once of the first loss that is not finite, on whichever rank: all of them do, with the same words."""
        if self.world.size == 1:
            if self.bad is not None:
                LossWatch.tell(self.bad[0], f"{', '.join(self.bad[1])} is", logger)
        elif self._others and not self._told:
            step, rank = min(self._others)
            LossWatch.tell(int(step), f"a loss of rank {rank} is", logger)
            self._told = True
        self.bad, self._others = None, []


def across_ranks(runner: object, values: dict[str, float], memory: int | None) -> tuple[dict[str, float], int | None]:
    """Return the values of a log point over all ranks of a run; as they are where it has no several ones."""
    across = getattr(runner, "across", None)
    return across.reduce(values, memory) if isinstance(across, AcrossRanks) else (values, memory)


def _reduced(name: str, own: float, found: Mapping[float, list[float]]) -> float:
    same = found.get(float(zlib.crc32(name.encode())), [])
    if not same or all(value == own for value in same):  # a mean of equal numbers may differ in the last digit
        return own
    if name.partition("/")[2] in SLOWEST:
        return max(same)
    return sum(same) / len(same)
