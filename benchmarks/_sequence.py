"""A sequential test of ratios: goes on until it is clear on which side of a limit their median lies.

Only the side of each ratio counts, as in the sign test: noise of whatever shape, and single turns that took ten times
as long, cannot decide. If the median lies at the limit or below, at most half of the ratios are above it; the evidence
against that is how much better all higher shares, weighed alike, foretell what was seen. Such a quotient reaches
1/error with a probability of at most `error`, however often one looks (Ville's inequality): so one may stop any time.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

__all__ = ["Sequence", "evidence"]

ERROR = 0.001
"""How often a median at the limit may be taken for one beyond it."""


def evidence(above: int, count: int) -> float:
    """How much speaks against "at most half of all lie above", when `above` of `count` do.

    The integral of p^above (1 - p)^(count - above) over p from 1/2 to 1, doubled, over its value at 1/2.
    """
    sums = sum(math.comb(count + 1, number) for number in range(above + 1))
    return sums / ((count + 1) * math.comb(count, above))


@dataclass
class Sequence:
    """Ratios as they come, and on which side of a limit their median is."""

    limit: float
    error: float = ERROR
    ratios: list[float] = field(default_factory=list)

    def add(self, ratio: float) -> None:
        """One more pair of turns."""
        self.ratios.append(ratio)

    @property
    def median(self) -> float:
        """Of all ratios so far."""
        return statistics.median(self.ratios) if self.ratios else math.nan

    @property
    def verdict(self) -> str:
        """Return "within" or "beyond" the limit, or "undecided"."""
        above = sum(ratio > self.limit for ratio in self.ratios)
        count = len(self.ratios)
        if evidence(above, count) >= 1 / self.error:
            return "beyond"
        if evidence(count - above, count) >= 1 / self.error:
            return "within"
        return "undecided"
