"""The formulae of all schedules: pure functions of a position, in the recursive form that the reference uses.

A schedule moves a value on from step `t - 1` to step `t` (0 is the first step of its window). Nearly all of them do
so by `(value - floor) * factor + floor` with a factor that depends on `t` alone, so the factor is worked out once per
step however many groups there are. The recursive form, not the closed one, is what equals MMEngine bit for bit: both
agree to 1e-13, but in only 0.4 % of 160,000 polynomial steps to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = [
    "approach",
    "constant_factor",
    "cosine_bounce",
    "cosine_factor",
    "exponential_factor",
    "linear_factor",
    "multi_step_factor",
    "one_cycle_phases",
    "one_cycle_value",
    "period_of",
    "poly_factor",
    "step_factor",
]

Phase = tuple[float, str, str]
"""End of the phase in steps, name of the value it starts from, name of the value it ends at."""


def approach(values: Sequence[float], factor: float, floors: Sequence[float]) -> list[float]:
    """Each value moved on by `factor` as seen from its floor."""
    return [(value - floor) * factor + floor for value, floor in zip(values, floors, strict=True)]


def constant_factor(t: int, total: float, factor: float) -> float | None:
    """Times `factor` at the start, undone one step before the window's end (`total` = length - 1)."""
    if t == 0:
        return factor
    return 1.0 / factor if t == total else None


def linear_factor(t: int, total: float, start: float, end: float) -> float:
    """From `start` times the base to `end` times the base in `total` steps."""
    if t == 0:
        return start
    return 1.0 + (end - start) / (total * start + (t - 1) * (end - start))


def poly_factor(t: int, total: float, power: float) -> float | None:
    """`(1 - t / total) ** power` as a factor on the step before; the floor is reached at `t = total`."""
    return None if t == 0 else (1 - 1 / (total - t + 1)) ** power


def exponential_factor(t: int, gamma: float) -> float | None:
    """Times `gamma` at every step but the first."""
    return None if t == 0 else gamma


def step_factor(t: int, step_size: float, gamma: float) -> float | None:
    """Times `gamma` at every `step_size`-th step."""
    return gamma if t > 0 and t % step_size == 0 else None


def multi_step_factor(t: int, milestones: Mapping[float, int], gamma: float) -> float | None:
    """Times `gamma` at each milestone, as often as it is listed."""
    return gamma ** milestones[t] if t in milestones else None


def cosine_factor(t: float, period: float) -> float:
    """Half a cosine wave over `period` steps, as a factor on the step before."""
    return (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))


def cosine_bounce(t: int, period: float) -> bool:
    """Whether the step before stood on the floor, so that no factor leads away from it."""
    return (t - 1 - period) % (2 * period) == 0


def period_of(t: int, ends: Sequence[float]) -> int | None:
    """Index of the cosine period that step `t` lies in; None after the last."""
    return next((index for index, end in enumerate(ends) if t < end), None)


def one_cycle_phases(total: float, pct_start: float, three_phase: bool) -> list[Phase]:
    """Where a one-cycle schedule turns."""
    peak = float(pct_start * total) - 1
    if not three_phase:
        return [(peak, "initial", "max"), (total - 1, "max", "min")]
    return [(peak, "initial", "max"), (2 * peak, "max", "initial"), (total - 1, "initial", "min")]


def one_cycle_value(t: int, phases: Sequence[Phase], levels: Mapping[str, float], linear: bool) -> float:
    """Value of a one-cycle schedule at step `t`; `levels` says what initial, max and min are.

    A phase of no step at all is over at once: with `pct_start * total == 1` the first step stands on the peak.
    """
    start_step = 0.0
    value = levels["min"]
    for index, (end_step, start, end) in enumerate(phases):
        if t <= end_step or index == len(phases) - 1:
            share = (t - start_step) / (end_step - start_step) if end_step != start_step else 1.0
            value = _anneal(levels[start], levels[end], share, linear)
            break
        start_step = end_step
    return value


def _anneal(start: float, end: float, share: float, linear: bool) -> float:
    if linear:
        return (end - start) * share + start
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
