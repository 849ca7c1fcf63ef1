"""The families of schedules, each for any option of the groups (`XxxParamScheduler`)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from seg_optim.checks import check_given, check_list, check_number, check_whole
from seg_optim.schedules import formulae as schedules
from seg_optim.schedules.base import INF, ParamScheduler, window_length

__all__ = [
    "ConstantParamScheduler",
    "ExponentialParamScheduler",
    "LinearParamScheduler",
    "MultiStepParamScheduler",
    "PolyParamScheduler",
    "StepParamScheduler",
    "floors_of",
]

logger = logging.getLogger("seg_optim")


def floors_of(name: str, bases: Sequence[float], eta_min: float | None, ratio: float | None) -> list[float]:
    """The floor of each group: one absolute value, or a share of each group's own base value.

    Raises:
        ValueError: both are given.
    """
    if eta_min is not None and ratio is not None:
        raise ValueError(f"{name}: eta_min={eta_min} and eta_min_ratio={ratio} exclude each other; keep the ratio")
    return [eta_min or 0.0] * len(bases) if ratio is None else [base * ratio for base in bases]


class ConstantParamScheduler(ParamScheduler):
    """Times `factor` until one step before the window's end, then back."""

    _shape = ("factor", "total_iters")

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        factor: float = 1.0 / 3,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        self.factor = _factor_in_range(type(self).__name__, "factor", factor)
        self.total_iters = window_length(type(self).__name__, begin, end) - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)
        _tell_one_step(self, "factor", factor)

    def _factor(self) -> float | None:
        return schedules.constant_factor(self.last_step, self.total_iters, self.factor)


class LinearParamScheduler(ParamScheduler):
    """From `start_factor` to `end_factor` times the base in a straight line; the usual warm-up."""

    _shape = ("start_factor", "end_factor", "total_iters")

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        name = type(self).__name__
        self.start_factor = _factor_in_range(name, "start_factor", start_factor)
        self.end_factor = _factor_in_range(name, "end_factor", end_factor, zero=True)
        self.total_iters = window_length(type(self).__name__, begin, end) - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)
        _tell_one_step(self, "start_factor", start_factor)

    def _factor(self) -> float | None:
        return schedules.linear_factor(self.last_step, self.total_iters, self.start_factor, self.end_factor)


class PolyParamScheduler(ParamScheduler):
    """Down to `eta_min` along `(1 - t / (length - 1)) ** power`; segmentation's usual schedule.

    `eta_min` is absolute, the same for all groups; `eta_min_ratio` is a share of each group's own base value and so
    keeps the groups' ratio.
    """

    _shape = ("eta_min", "eta_min_ratio", "power", "total_iters")
    _not_negative = ("eta_min", "eta_min_ratio")

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        eta_min: float | None = None,
        power: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        eta_min_ratio: float | None = None,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        check_number(f"{type(self).__name__}: eta_min", eta_min)
        self.eta_min, self.eta_min_ratio = eta_min or 0, eta_min_ratio
        self._given_eta_min = eta_min
        check_given(f"{type(self).__name__}: power", power)
        self.power = power
        self.total_iters = window_length(type(self).__name__, begin, end) - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)

    def _prepare(self) -> None:
        given = self._given_eta_min if self.eta_min_ratio is not None else self.eta_min
        self._floors = floors_of(type(self).__name__, self.base_values, given, self.eta_min_ratio)

    def _factor(self) -> float | None:
        return schedules.poly_factor(self.last_step, self.total_iters, self.power)


class ExponentialParamScheduler(ParamScheduler):
    """Times `gamma` at every step."""

    _shape = ("gamma",)
    _not_negative = ("gamma",)

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        gamma: float,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)

    def _factor(self) -> float | None:
        return schedules.exponential_factor(self.last_step, self.gamma)


class StepParamScheduler(ParamScheduler):
    """Times `gamma` every `step_size` steps."""

    _shape = ("step_size", "gamma")
    _not_negative = ("gamma",)
    _positive = ("step_size",)
    _whole = ("step_size",)
    _epoch_keys = ("step_size",)

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        step_size: int,
        gamma: float = 0.1,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)

    def _factor(self) -> float | None:
        return schedules.step_factor(self.last_step, self.step_size, self.gamma)


class MultiStepParamScheduler(ParamScheduler):
    """Times `gamma` at each of `milestones`, which count from `begin`. One listed twice acts twice."""

    _shape = ("milestones", "gamma")
    _not_negative = ("gamma",)
    _epoch_keys = ("milestones",)

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        milestones: Sequence[float],
        gamma: float = 0.1,
        last_step: int = -1,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str = "call",
        resume_schedule: str = "config",
    ) -> None:
        check_list(f"{type(self).__name__}: milestones", milestones)
        steps = list(milestones)
        for step in steps:
            check_whole(f"{type(self).__name__}: milestones", step)
        if steps != sorted(steps):
            raise ValueError(f"{type(self).__name__}: milestones={steps} are out of order; write {sorted(steps)}")
        self.milestones: dict[float, int] = dict(Counter(steps))
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit, resume_schedule)

    def _factor(self) -> float | None:
        return schedules.multi_step_factor(self.last_step, self.milestones, self.gamma)


def _tell_one_step(scheduler: Any, key: str, factor: float) -> None:
    """A line on a warm-up that begins and never gets further."""
    if scheduler.end - scheduler.begin <= 1 and factor != 1:
        kind, name, unit = type(scheduler).__name__, scheduler.param_name, "epoch" if scheduler.by_epoch else "step"
        logger.warning(
            "%s: its window is one %s (begin=%s, end=%s), so that %s stays at %s=%.4g times its base for good: give a "
            "later end, or convert_to_iter_based=True", kind, unit, scheduler.begin, scheduler.end, name, key, factor,
        )  # fmt: skip


def _factor_in_range(name: str, key: str, value: float, zero: bool = False) -> float:
    if value is None:
        raise TypeError(f"{name}: {key} is None, a number between 0 and 1 is needed")
    check_number(f"{name}: {key}", value, most=1)
    if value == 0 and not zero:
        raise ValueError(f"{name}: {key}=0 cannot be multiplied up again; write a small number such as 1e-6")
    return value
