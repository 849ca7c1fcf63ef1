"""Cosine annealing, its restarts and the one-cycle schedule, for any option of the groups."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from typing import Any

from seg_optim.checks import check_choice, check_flag, check_given, check_list, check_number
from seg_optim.schedules import formulae as schedules
from seg_optim.schedules.base import INF, ParamScheduler, window_length
from seg_optim.schedules.families import floors_of

__all__ = ["CosineAnnealingParamScheduler", "CosineRestartParamScheduler", "OneCycleParamScheduler"]

logger = logging.getLogger("seg_optim")


class CosineAnnealingParamScheduler(ParamScheduler):
    """Down half a cosine wave in `T_max` steps (default: the window), then up again.

    With the default `T_max` the last value is not quite the floor: the wave ends one step after the window. The floor
    is `eta_min` (absolute) or `eta_min_ratio` times each group's base value.
    Source: SGDR, Loshchilov and Hutter 2017, without restarts.
    """

    _shape = ("T_max", "eta_min", "eta_min_ratio")
    _not_negative = ("eta_min", "eta_min_ratio")
    _positive = ("T_max",)
    _epoch_keys = ("T_max",)

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        T_max: float | None = None,
        eta_min: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        eta_min_ratio: float | None = None,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        if T_max != 0:  # which stands for the default, too
            check_number(f"{type(self).__name__}: T_max", T_max, above=0)
        self.T_max: float = T_max or window_length(type(self).__name__, begin, end)
        self.eta_min = 0.0 if eta_min is None and eta_min_ratio is None else eta_min
        self.eta_min_ratio = eta_min_ratio
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)

    def _prepare(self) -> None:
        self._floors = floors_of(type(self).__name__, self.base_values, self.eta_min, self.eta_min_ratio)

    def _get_value(self) -> list[float]:
        if self.last_step > 0 and schedules.cosine_bounce(self.last_step, self.T_max):
            rise = 1 - math.cos(math.pi / self.T_max)
            return [
                value + (base - floor) * rise / 2
                for value, base, floor in zip(self.values, self.base_values, self._floors, strict=True)
            ]
        return super()._get_value()

    def _factor(self) -> float | None:
        return None if self.last_step == 0 else schedules.cosine_factor(self.last_step, self.T_max)


class CosineRestartParamScheduler(ParamScheduler):
    """Cosine annealing that starts again: period `i` begins at `restart_weights[i]` times the base value.

    A restart sets the value outright, whatever other schedulers made of it. After the last period nothing changes.
    Source: SGDR, Loshchilov and Hutter 2017.
    """

    _shape = ("periods", "restart_weights", "eta_min", "eta_min_ratio")
    _not_negative = ("eta_min", "eta_min_ratio")
    _epoch_keys = ("periods",)

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1,),
        eta_min: float | None = None,
        eta_min_ratio: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        name = type(self).__name__
        check_list(f"{name}: periods", periods, above=0)
        if not periods:
            raise ValueError(f"{name}: periods={periods!r} has no period, so the schedule would never act")
        check_list(f"{name}: restart_weights", restart_weights)
        self.periods, self.restart_weights = list(periods), list(restart_weights)
        self.eta_min, self.eta_min_ratio = eta_min, eta_min_ratio
        if (eta_min is None) == (eta_min_ratio is None):
            raise ValueError(f"{name}: give eta_min or eta_min_ratio, one of the two (got {eta_min}, {eta_min_ratio})")
        if len(self.periods) != len(self.restart_weights):
            raise ValueError(
                f"{name}: {len(self.periods)} periods need as many restart_weights, {len(self.restart_weights)} given"
            )
        self.cumulative_periods = list(itertools.accumulate(self.periods))
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)

    def _prepare(self) -> None:
        self._floors = floors_of(type(self).__name__, self.base_values, self.eta_min, self.eta_min_ratio)

    def _get_value(self) -> list[float]:
        index = schedules.period_of(self.last_step, self.cumulative_periods)
        if index is None:
            return self.values
        inside = self.last_step - (self.cumulative_periods[index - 1] if index else 0)
        if inside == 0:
            return [base * self.restart_weights[index] for base in self.base_values]
        factor = schedules.cosine_factor(inside, self.periods[index])
        return schedules.approach(self.values, factor, self._floors)


class OneCycleParamScheduler(ParamScheduler):
    """Up to `eta_max` and far down again within `total_steps`; sets the learning rate outright.

    Start is `eta_max / div_factor`, the end `start / final_div_factor`. Only for `lr`.
    Source: Super-Convergence, Smith and Topin 2018; the phases are those of `torch.optim.lr_scheduler.OneCycleLR`.
    """

    _shape = ("eta_max", "div_factor", "final_div_factor", "total_steps")
    _not_negative = ("eta_max",)
    _positive = ("div_factor", "final_div_factor")
    _lists = ("eta_max",)
    _epoch_keys = ("total_steps",)

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        eta_max: float | Sequence[float] = 0,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        name = type(self).__name__
        if param_name != "lr":
            raise ValueError(f"{name} schedules 'lr' only, not {param_name!r}")
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"{name}: pct_start={pct_start!r} must be a float between 0 and 1")
        check_choice(f"{name}: anneal_strategy", anneal_strategy, ("cos", "linear"))
        check_flag(f"{name}: three_phase", three_phase)
        self.eta_max, self.div_factor, self.final_div_factor = eta_max, div_factor, final_div_factor
        self.total_steps = window_length(name, begin, end) if total_steps is None else total_steps
        check_number(f"{name}: total_steps", self.total_steps, above=0)
        for key, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            check_given(f"{name}: {key}", value, above=0)
        if not isinstance(eta_max, list | tuple):
            check_given(f"{name}: eta_max", eta_max)
        if eta_max == 0:
            logger.warning("%s: eta_max=0 keeps the learning rate at 0; say how high it shall rise", name)
        self._linear = anneal_strategy == "linear"
        self._phases = schedules.one_cycle_phases(self.total_steps, pct_start, three_phase)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)

    def _prepare(self) -> None:
        count = len(self._groups)
        peaks = list(self.eta_max) if isinstance(self.eta_max, Sequence) else [self.eta_max] * count
        if len(peaks) != count:
            raise ValueError(f"{type(self).__name__}: eta_max has {len(peaks)} values for {count} parameter groups; "
                             "where groups are added later, give one number for all")  # fmt: skip
        self._levels = [self._level(peak) for peak in peaks]
        for group, level in zip(self._groups, self._levels, strict=True):
            group.update(initial_lr=level["initial"], max_lr=level["max"], min_lr=level["min"])
        self.base_values = [level["initial"] for level in self._levels]

    def _level(self, peak: float) -> dict[str, float]:
        start = peak / self.div_factor
        return {"initial": start, "max": peak, "min": start / self.final_div_factor}

    def _get_value(self) -> list[float]:
        if self.last_step > self.total_steps:
            raise ValueError(
                f"{type(self).__name__}: step {self.last_step} lies after the last of total_steps={self.total_steps}"
            )
        return [schedules.one_cycle_value(self.last_step, self._phases, lv, self._linear) for lv in self._levels]
