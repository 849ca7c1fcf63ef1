"""Cosine annealing, its restarts and the one-cycle schedule, for any option of the groups."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Unpack

from seg_optim.checks import check_choice, check_flag, check_given, check_list, check_number
from seg_optim.protocols import HasGroups
from seg_optim.schedules.arguments import INF, Checks, CommonArguments, by_name, window_length
from seg_optim.schedules.base import ParamScheduler
from seg_optim.schedules.families import FloorParamScheduler
from seg_optim.schedules.formulae import (
    cosine_bounce,
    cosine_factor,
    cosine_restart_factor,
    one_cycle_phases,
    one_cycle_value,
    period_of,
)

__all__ = ["CosineAnnealingParamScheduler", "CosineRestartParamScheduler", "OneCycleParamScheduler"]

logger = logging.getLogger("seg_optim")


class CosineAnnealingParamScheduler(FloorParamScheduler, formula=cosine_factor):
    """Goes down half a cosine wave in `T_max` steps (default: the window), then up again.

    With the default `T_max` the last value is not quite the floor: the wave ends one step after the window. The floor
    is `eta_min`, the same for all groups, or `eta_min_ratio` times each group's base value.
    Source: SGDR, Loshchilov and Hutter 2017, without restarts.

    In a config: `dict(type='CosineAnnealingLR', T_max=40000, eta_min_ratio=0.01, by_epoch=False)`.

    Args:
        T_max: Steps of half a wave; None or 0: the window's length.
    """

    _epoch_keys: ClassVar[Mapping[str, bool]] = {"T_max": False}

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        T_max: float | None = None,
        eta_min: float | None = None,
        *args: object,
        eta_min_ratio: float | None = None,
        **common: Unpack[CommonArguments],
    ) -> None:
        name, named = type(self).__name__, by_name(type(self), args, common)
        if T_max != 0:  # which stands for the default, too
            check_number(f"{name}: T_max", T_max, above=0)
        self.T_max: float = T_max or window_length(name, named.get("begin", 0), named.get("end", INF))
        self._take_floor(eta_min, named.pop("eta_min_ratio", eta_min_ratio))
        if self.eta_min_ratio is None:
            self.eta_min = self.eta_min or 0.0
        super().__init__(optimizer, param_name, **named)

    def _get_value(self) -> list[float]:
        if self.last_step > 0 and cosine_bounce(self.last_step, self.T_max):
            rise = 1 - math.cos(math.pi / self.T_max)
            return [
                value + (base - floor) * rise / 2
                for value, base, floor in zip(self.values, self.base_values, self._floors, strict=True)
            ]
        return super()._get_value()


class CosineRestartParamScheduler(FloorParamScheduler, formula=cosine_restart_factor):
    """Anneals along a cosine that starts again: period `i` begins at `restart_weights[i]` times the base value.

    A restart sets the value outright, whatever other schedulers made of it. After the last period nothing changes.
    Source: SGDR, Loshchilov and Hutter 2017.

    In a config: `dict(type='CosineRestartLR', periods=[10000, 30000], restart_weights=[1, 0.5], by_epoch=False)`.

    Args:
        periods: Steps of each period, one after the other.
        restart_weights: What the base value is multiplied by at the begin of each period.
    """

    _shape = ("periods", "restart_weights", "eta_min", "eta_min_ratio")
    _epoch_keys: ClassVar[Mapping[str, bool]] = {"periods": False}
    _positions = ParamScheduler._positions

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1,),
        eta_min: float | None = None,
        eta_min_ratio: float | None = None,
        *args: object,
        **common: Unpack[CommonArguments],
    ) -> None:
        name = type(self).__name__
        check_list(f"{name}: periods", periods, above=0)
        if not periods:
            raise ValueError(f"{name}: periods={periods!r} has no period, so the schedule would never act")
        check_list(f"{name}: restart_weights", restart_weights)
        self.periods, self.restart_weights = list(periods), list(restart_weights)
        if (eta_min is None) == (eta_min_ratio is None):
            raise ValueError(f"{name}: give either eta_min or eta_min_ratio (got {eta_min} and {eta_min_ratio})")
        if len(self.periods) != len(self.restart_weights):
            raise ValueError(
                f"{name}: {len(self.periods)} periods need as many restart_weights, {len(self.restart_weights)} given"
            )
        self._take_floor(eta_min, eta_min_ratio)
        super().__init__(optimizer, param_name, **by_name(type(self), args, common))

    def _prepare(self) -> None:
        super()._prepare()
        self.cumulative_periods = list(itertools.accumulate(self.periods))

    def _get_value(self) -> list[float]:
        index = period_of(self.last_step, self.cumulative_periods)
        if index is None or self.last_step != (self.cumulative_periods[index - 1] if index else 0):
            return super()._get_value()
        return [base * self.restart_weights[index] for base in self.base_values]


class OneCycleParamScheduler(ParamScheduler):
    """Goes up to `eta_max` and far down again within `total_steps`; sets the learning rate outright.

    Start is `eta_max / div_factor`, the end `start / final_div_factor`. Only for `lr`.
    Source: Super-Convergence, Smith and Topin 2018; the phases are those of `torch.optim.lr_scheduler.OneCycleLR`.

    In a config: `dict(type='OneCycleLR', eta_max=0.01, total_steps=40000, by_epoch=False)`.

    Args:
        eta_max: The highest value, for all groups or one for each.
        total_steps: Steps of the whole cycle; None: the window's length.
        pct_start: The share of the cycle in which the value rises, 0 to 1.
        anneal_strategy: 'cos' or 'linear': the shape of rise and fall.
        div_factor: The first value is `eta_max` divided by this.
        final_div_factor: The last value is the first one divided by this.
        three_phase: Fall back to the first value as slowly as it rose, and only then to the last.
    """

    _shape = ("eta_max", "div_factor", "final_div_factor", "total_steps")
    _checks: ClassVar[Checks] = dict.fromkeys(("div_factor", "final_div_factor"), partial(check_given, above=0))
    _epoch_keys: ClassVar[Mapping[str, bool]] = {"total_steps": False}

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        eta_max: float | Sequence[float] = 0,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        *args: object,
        **common: Unpack[CommonArguments],
    ) -> None:
        name, named = type(self).__name__, by_name(type(self), args, common)
        if param_name != "lr":
            raise ValueError(f"{name} schedules 'lr' only, not {param_name!r}")
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"{name}: pct_start={pct_start!r} must be a float between 0 and 1")
        check_choice(f"{name}: anneal_strategy", anneal_strategy, ("cos", "linear"))
        check_flag(f"{name}: three_phase", three_phase)
        (check_list if isinstance(eta_max, list | tuple) else check_given)(f"{name}: eta_max", eta_max)
        if eta_max == 0:
            logger.warning("%s: eta_max=0 keeps the learning rate at 0; give the highest rate", name)
        self.eta_max, self.div_factor, self.final_div_factor = eta_max, div_factor, final_div_factor
        length = window_length(name, named.get("begin", 0), named.get("end", INF))
        self.total_steps = length if total_steps is None else total_steps
        check_number(f"{name}: total_steps", self.total_steps, above=0)
        self._linear = anneal_strategy == "linear"
        self._phases = one_cycle_phases(self.total_steps, pct_start, three_phase)
        super().__init__(optimizer, param_name, **named)

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
                f"{type(self).__name__}: step {self.last_step} is after the last of total_steps={self.total_steps}"
            )
        return [one_cycle_value(self.last_step, self._phases, lv, self._linear) for lv in self._levels]
