"""The families of schedules, each for any option of the groups (`XxxParamScheduler`): a class for each formula.

To add one: write its formula in `formulae.py`, name it in a class here, derive a class from it in `learning_rate.py`
and in `momentum.py`, and list all three in `seg_optim/__init__.py` and as entry points in `pyproject.toml`. Cosine
schedules and one-cycle are in `cosine.py`, the one that follows a metric is in `plateau.py`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Unpack

from seg_optim.checks import check_given, check_list, check_number, check_whole
from seg_optim.protocols import HasGroups
from seg_optim.schedules.arguments import (
    POSITIONS,
    Checks,
    CommonArguments,
    by_name,
    check_factor,
    check_start_factor,
    check_step_size,
)
from seg_optim.schedules.base import ParamScheduler
from seg_optim.schedules.formulae import (
    constant_factor,
    exponential_factor,
    linear_factor,
    multi_step_factor,
    poly_factor,
    step_factor,
)

__all__ = [
    "ConstantParamScheduler",
    "ExponentialParamScheduler",
    "LinearParamScheduler",
    "MultiStepParamScheduler",
    "PolyParamScheduler",
    "StepParamScheduler",
]

logger = logging.getLogger("seg_optim")


class ConstantParamScheduler(ParamScheduler, formula=constant_factor):
    """Multiplies by `factor`, and undoes it one step before the window's end.

    In a config: `dict(type='ConstantLR', factor=0.1, end=500, by_epoch=False)`.

    Args:
        factor: What the value is multiplied by inside of the window.
    """

    _checks: ClassVar[Checks] = {"factor": check_start_factor}

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        factor: float = 1.0 / 3,
        *args: object,
        **common: Unpack[CommonArguments],
    ) -> None:
        self.factor = factor
        super().__init__(optimizer, param_name, **by_name(type(self), args, common))
        _warn_one_step(self, "factor", factor)


class LinearParamScheduler(ParamScheduler, formula=linear_factor):
    """Goes from `start_factor` to `end_factor` times the base in a straight line; the usual warm-up.

    In a config: `dict(type='LinearLR', start_factor=0.001, end=1500, by_epoch=False)`.

    Args:
        start_factor: What the base value is multiplied by at the window's begin.
        end_factor: The same at its end.
    """

    _checks: ClassVar[Checks] = {"start_factor": check_start_factor, "end_factor": partial(check_given, most=1)}

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        *args: object,
        **common: Unpack[CommonArguments],
    ) -> None:
        self.start_factor, self.end_factor = start_factor, end_factor
        super().__init__(optimizer, param_name, **by_name(type(self), args, common))
        _warn_one_step(self, "start_factor", start_factor)


class FloorParamScheduler(ParamScheduler):
    """What goes down to a floor: `eta_min`, the same for all groups, or `eta_min_ratio` times each group's own base.

    The ratio keeps the groups apart: with `eta_min` they all end at one value.

    Args:
        eta_min: The lowest value, the same for all groups; without either of the two, 0.
        eta_min_ratio: The lowest value as a share of each group's own base value.
    """

    eta_min: float | None
    eta_min_ratio: float | None
    _shape: ClassVar[tuple[str, ...]] = ("eta_min", "eta_min_ratio")
    _positions = (*POSITIONS[:5], "eta_min_ratio", *POSITIONS[5:])  # behind MMEngine's own five, before ours

    def _take_floor(self, eta_min: float | None, ratio: float | None) -> None:
        name = type(self).__name__
        check_number(f"{name}: eta_min", eta_min)
        check_number(f"{name}: eta_min_ratio", ratio)
        if eta_min is not None and ratio is not None:
            raise ValueError(f"{name}: eta_min={eta_min} and eta_min_ratio={ratio} exclude each other; keep one")
        self.eta_min, self.eta_min_ratio = eta_min, ratio

    def _prepare(self) -> None:
        eta_min, ratio = self.eta_min or 0.0, self.eta_min_ratio
        self._floors = [eta_min if ratio is None else base * ratio for base in self.base_values]

    def _start(self) -> None:
        super()._start()
        self._chain.warn_once(self._flattening())

    def _flattening(self) -> str:
        """Return a line if the floor is above the base, or one for groups of different base values."""
        kind, ratio, floor = type(self).__name__, self.eta_min_ratio, self._floors[0] if self._floors else 0.0
        bases = self.base_values[: len(self.base_values) - len(getattr(self.optimizer, "base_groups", ()))]
        low, high = min(bases, default=0.0), max(bases, default=0.0)
        if (ratio or 0) > 1 or (ratio is None and 0 < low == high < floor):
            option = f"eta_min={floor:.4g}" if ratio is None else f"eta_min_ratio={ratio:.4g}"
            return f"{kind}: {option} is above the base value {high:.4g}, so that the value rises to it"
        if not floor or ratio is not None or low == high:
            return ""
        rising = f"; those below {floor:.4g} will rise to it" if 0 < low < floor else ""
        return (
            f"{kind}: eta_min={floor:.4g} is the same for groups whose base values run from {low:.4g} to {high:.4g}, "
            f"so their ratio is lost{rising}. Use eta_min_ratio={floor / max(high, floor):.4g}"
        )


class PolyParamScheduler(FloorParamScheduler, formula=poly_factor):
    """Goes down to a floor along `(1 - t / (length - 1)) ** power`; segmentation's usual schedule.

    The floor is `eta_min`, the same for all groups, or `eta_min_ratio` times each group's own base value, which keeps
    the groups' ratio.

    In a config: `dict(type='PolyLR', power=0.9, eta_min_ratio=0.01, begin=1500, by_epoch=False)`.

    Args:
        power: 1 is a straight line; less stays high for longer, more falls early.
    """

    _checks: ClassVar[Checks] = {"power": check_given}

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        eta_min: float | None = None,
        power: float = 1.0,
        *args: object,
        eta_min_ratio: float | None = None,
        **common: Unpack[CommonArguments],
    ) -> None:
        named = by_name(type(self), args, common)
        self._take_floor(eta_min, named.pop("eta_min_ratio", eta_min_ratio))
        self.eta_min, self.power = self.eta_min or 0, power
        super().__init__(optimizer, param_name, **named)


class ExponentialParamScheduler(ParamScheduler, formula=exponential_factor):
    """Multiplies by `gamma` at every step.

    In a config: `dict(type='ExponentialLR', gamma=0.95)`.

    Args:
        gamma: What the value is multiplied by at each step.
    """

    _checks: ClassVar[Checks] = {"gamma": check_factor}

    def __init__(
        self, optimizer: HasGroups, param_name: str, gamma: float, *args: object, **common: Unpack[CommonArguments]
    ) -> None:
        self.gamma = gamma
        super().__init__(optimizer, param_name, **by_name(type(self), args, common))


class StepParamScheduler(ParamScheduler, formula=step_factor):
    """Multiplies by `gamma` every `step_size` steps.

    In a config: `dict(type='StepLR', step_size=30, gamma=0.1)`.

    Args:
        step_size: Steps between two changes.
        gamma: What the value is multiplied by at each change.
    """

    _checks: ClassVar[Checks] = {"step_size": check_step_size, "gamma": check_factor}
    _epoch_keys: ClassVar[Mapping[str, bool]] = {"step_size": True}

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        step_size: int,
        gamma: float = 0.1,
        *args: object,
        **common: Unpack[CommonArguments],
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, param_name, **by_name(type(self), args, common))


class MultiStepParamScheduler(ParamScheduler, formula=multi_step_factor):
    """Multiplies by `gamma` at each of `milestones`, which count from `begin`. One listed twice acts twice.

    In a config: `dict(type='MultiStepLR', milestones=[60000, 72000], by_epoch=False)`.

    Args:
        milestones: The steps at which the value changes, counted from `begin`.
        gamma: What the value is multiplied by at each change.
    """

    _checks: ClassVar[Checks] = {"gamma": check_factor}
    _epoch_keys: ClassVar[Mapping[str, bool]] = {"milestones": True}
    _positions = ("last_step", "begin", "end", *POSITIONS[3:])

    def __init__(
        self,
        optimizer: HasGroups,
        param_name: str,
        milestones: Sequence[float],
        gamma: float = 0.1,
        *args: object,
        **common: Unpack[CommonArguments],
    ) -> None:
        where = f"{type(self).__name__}: milestones"
        check_list(where, milestones)
        steps = list(milestones)
        for step in steps:
            check_whole(where, step)
        if steps != sorted(steps):
            raise ValueError(f"{where}={steps} are out of order; write {sorted(steps)}")
        self.milestones: dict[float, int] = dict(Counter(steps))
        self.gamma = gamma
        super().__init__(optimizer, param_name, **by_name(type(self), args, common))


def _warn_one_step(scheduler: ParamScheduler, key: str, factor: float) -> None:
    """Log a line on a warm-up that begins and never gets further."""
    if scheduler.end - scheduler.begin <= 1 and factor != 1:
        kind, name, unit = type(scheduler).__name__, scheduler.param_name, "epoch" if scheduler.by_epoch else "step"
        logger.warning(
            "%s: its window is one %s (begin=%s, end=%s), so %s stays at %s=%.4g times its base until the run ends: "
            "give a later end, or convert_to_iter_based=True",
            kind, unit, scheduler.begin, scheduler.end, name, key, factor,
        )  # fmt: skip
