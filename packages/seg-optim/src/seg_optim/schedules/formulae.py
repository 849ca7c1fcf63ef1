"""The formulae of all schedules: pure functions of a position, in the recursive form that MMEngine uses.

A schedule moves a value on from step `t - 1` to step `t` (0 is the first step of its window). Nearly all of them do
so by `(value - floor) * factor + floor` with a factor that depends on `t` alone, so the factor is worked out once per
step however many groups there are. The recursive form, not the closed one, is what equals MMEngine bit for bit: both
agree to 1e-13, but in only 0.4 % of 160,000 polynomial steps to the last bit.

`x_factor(t, ...)` returns that factor, or None where step `t` leaves the value as it is. Its parameters after `t` have
the names of the scheduler's attributes from which `ParamScheduler` fills them in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = [
    "constant_factor",
    "cosine_bounce",
    "cosine_factor",
    "cosine_restart_factor",
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


def constant_factor(t: int, total_iters: float, factor: float) -> float | None:
    """Multiply by `factor` at the start, and undo it at `total_iters`, one step before the window's end."""
    if t == 0:
        return factor
    return 1.0 / factor if t == total_iters else None


def linear_factor(t: int, total_iters: float, start_factor: float, end_factor: float) -> float:
    """Go from `start_factor` to `end_factor` times the base in `total_iters` steps of equal size.

    Source: the warm-up of Goyal et al. 2017, Accurate, Large Minibatch SGD.
    """
    if t == 0:
        return start_factor
    rise = end_factor - start_factor
    return 1.0 + rise / (total_iters * start_factor + (t - 1) * rise)


def poly_factor(t: int, total_iters: float, power: float) -> float | None:
    """Go down along `(1 - t / total_iters) ** power`; the floor is reached at `total_iters`.

    Source: the policy "poly" of Caffe, in segmentation since DeepLab, Chen et al. 2016.
    """
    return None if t == 0 else (1 - 1 / (total_iters - t + 1)) ** power


def exponential_factor(t: int, gamma: float) -> float | None:
    """Multiply by `gamma` at every step but the first."""
    return None if t == 0 else gamma


def step_factor(t: int, step_size: float, gamma: float) -> float | None:
    """Multiply by `gamma` at every `step_size`-th step."""
    return gamma if t > 0 and t % step_size == 0 else None


def multi_step_factor(t: int, milestones: Mapping[float, int], gamma: float) -> float | None:
    """Multiply by `gamma` at each milestone, as often as it is listed."""
    return gamma ** milestones[t] if t in milestones else None


def cosine_factor(t: float, T_max: float) -> float | None:
    """Go down half a cosine wave in `T_max` steps.

    Source: SGDR, Loshchilov and Hutter 2017.
    """
    return None if t == 0 else (1 + math.cos(math.pi * t / T_max)) / (1 + math.cos(math.pi * (t - 1) / T_max))


def cosine_bounce(t: int, T_max: float) -> bool:
    """Tell whether the step before stood on the floor, so that no factor leads away from it."""
    return (t - 1 - T_max) % (2 * T_max) == 0


def cosine_restart_factor(t: int, periods: Sequence[float], cumulative_periods: Sequence[float]) -> float | None:
    """Go down half a cosine wave in each period; None where one begins, and after the last.

    Source: SGDR, Loshchilov and Hutter 2017.
    """
    index = period_of(t, cumulative_periods)
    if index is None:
        return None
    return cosine_factor(t - (cumulative_periods[index - 1] if index else 0), periods[index])


def period_of(t: int, ends: Sequence[float]) -> int | None:
    """Return the index of the cosine period that step `t` lies in; None after the last."""
    return next((index for index, end in enumerate(ends) if t < end), None)


def one_cycle_phases(total: float, pct_start: float, three_phase: bool) -> list[Phase]:
    """Return where a one-cycle schedule turns.

    Source: Super-Convergence, Smith and Topin 2018; the phases are those of `torch.optim.lr_scheduler.OneCycleLR`.
    """
    peak = float(pct_start * total) - 1
    if not three_phase:
        return [(peak, "initial", "max"), (total - 1, "max", "min")]
    return [(peak, "initial", "max"), (2 * peak, "max", "initial"), (total - 1, "initial", "min")]


def one_cycle_value(t: int, phases: Sequence[Phase], levels: Mapping[str, float], linear: bool) -> float:
    """Return the value of a one-cycle schedule at step `t`; `levels` says what initial, max and min are.

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
