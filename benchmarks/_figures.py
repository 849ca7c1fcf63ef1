"""What the turns of a contest say: medians, quarters, and ratios and differences to the bare limit, in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Goal", "Values", "figures", "rows", "table_header"]

Values = dict[int, dict[str, float]]
"""By round: what a turn took."""
SCALE = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "MB": 1e-6}
DIGITS = {"s": 3, "ms": 2, "us": 1, "ns": 0, "MB": 1}


@dataclass(frozen=True)
class Goal:
    """What one contestant shall reach at most: a ratio to the bare limit, a distance above it, or less than another."""

    contestant: str
    ratio: float | None = None
    above: float | None = None  # in seconds or bytes
    under: str | None = None  # the name of another contestant
    why: str = ""

    def judge(self, found: Mapping[str, Any], unit: str) -> dict[str, str] | None:
        """Return what is asked, what was seen and whether it is enough, in words; None where it was not measured."""
        one, other = found.get(self.contestant), found.get(self.under or self.contestant)
        if one is None or other is None or "ratio" not in one or "ratio" not in other:
            return None
        seen, limit = one["ratio"]["median"], self.ratio
        words = f"{seen:.2f} x", f"at most {limit} x"
        if self.under is not None:
            limit = other["ratio"]["median"]
            words = words[0], f"less than {self.under}: {limit:.2f} x"
        elif self.above is not None:
            seen, limit = one["above"]["median"], self.above
            shown = [f"{SCALE[unit] * value:.{DIGITS[unit]}f} {unit}" for value in (seen, limit)]
            words = f"{shown[0]} above", f"at most {shown[1]} above"
        reached = limit is not None and (seen < limit if self.under else seen <= limit)
        verdict = "reached" if reached else "**not reached**"
        return {"contestant": self.contestant, "asked": words[1], "seen": words[0], "verdict": verdict, "why": self.why}


def quarters(values: Sequence[float]) -> dict[str, float]:
    """The median, and the two values between which half of all lie."""
    if len(values) < 2:
        return dict.fromkeys(("low", "median", "high"), values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"low": low, "median": middle, "high": high}


def figures(turns: Mapping[str, Values], base: str, measure: str) -> dict[str, Any]:
    """For each contestant its value, and the ratio and difference to the base's of the same round."""
    found: dict[str, Any] = {}
    bare = {number: turn[measure] for number, turn in turns.get(base, {}).items()}
    for name, by_round in turns.items():
        own = {number: turn[measure] for number, turn in by_round.items()}
        pairs = [(own[number], bare[number]) for number in own if bare.get(number)]
        found[name] = {"value": quarters(list(own.values())), "rounds": len(own)}
        if pairs:
            found[name]["ratio"] = quarters([mine / limit for mine, limit in pairs])
            found[name]["above"] = quarters([mine - limit for mine, limit in pairs])
    return found


def table_header(unit: str) -> list[str]:
    """The columns of a contest's table."""
    return ["", unit, f"{unit} above", "x bare", "half lie between"]


def rows(found: Mapping[str, Any], unit: str) -> list[list[str]]:
    """The rows of a contest's table, in the unit that is shown."""
    scale, digits = SCALE[unit], DIGITS[unit]
    lines = []
    for name, one in found.items():
        line = [name, f"{scale * one['value']['median']:.{digits}f}"]
        if "ratio" in one:
            ratio = one["ratio"]
            line.append(f"{scale * one['above']['median']:.{digits}f}")
            line += [f"{ratio['median']:.3f}", f"{ratio['low']:.3f}-{ratio['high']:.3f}"]
        lines.append([*line, *["-"] * (5 - len(line))])
    return lines
