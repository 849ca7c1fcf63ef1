"""The schedules of the momentum, by the names that configs use: a class for each family.

Arguments, errors and the formula of `XxxMomentum` are those of `XxxParamScheduler` without `param_name`. For the Adam
family the momentum is `betas[0]`.

Example:
    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
    >>> scheduler = LinearMomentum(optimizer, start_factor=0.5, begin=0, end=1500, by_epoch=False)
    >>> scheduler.step()  # once per iteration, after the optimizer's step
"""

from __future__ import annotations

from typing import Any

from seg_optim.checks import check_arguments
from seg_optim.protocols import HasGroups
from seg_optim.schedules.base import ParamScheduler
from seg_optim.schedules.chain import base_optimizer
from seg_optim.schedules.cosine import CosineAnnealingParamScheduler, CosineRestartParamScheduler
from seg_optim.schedules.families import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    PolyParamScheduler,
    StepParamScheduler,
)
from seg_optim.schedules.plateau import ReduceOnPlateauParamScheduler

__all__ = [
    "ConstantMomentum",
    "CosineAnnealingMomentum",
    "CosineRestartMomentum",
    "ExponentialMomentum",
    "LinearMomentum",
    "MultiStepMomentum",
    "PolyMomentum",
    "ReduceOnPlateauMomentum",
    "StepMomentum",
]


class _OfMomentum(ParamScheduler):
    """Fills in `param_name='momentum'`; where there is only `betas`, a mirror of its first value is scheduled."""

    _filled_in = ("param_name",)

    def __init__(self, optimizer: HasGroups, *args: object, **kwargs: object) -> None:
        groups = getattr(optimizer, "param_groups", [])
        defaults = getattr(base_optimizer(optimizer), "defaults", {})
        self.use_betas = "momentum" not in defaults and "betas" in defaults
        if groups and not self.use_betas and "momentum" not in defaults:
            name = type(base_optimizer(optimizer)).__name__
            raise ValueError(
                f"{type(self).__name__}: {name} has neither momentum nor betas, so there is none to change"
            )
        check_arguments(type(self).__name__, type(self), kwargs)
        super().__init__(optimizer, "momentum", *args, **kwargs)  # type: ignore[arg-type] # the family's, next in line

    def _base(self, group: dict[str, Any], index: int, new: bool) -> float:
        if self.use_betas:
            group["momentum"] = group["betas"][0]
        return super()._base(group, index, new)

    def _mirror(self) -> None:
        """Give groups their mirror that have none: a state that no schedule of the momentum has seen holds none."""
        if self.use_betas:
            for group in self.optimizer.param_groups:
                group.setdefault("momentum", group["betas"][0])

    def _take_in(self) -> None:
        super()._take_in()
        self._mirror()

    def _advance(self) -> None:
        self._mirror()
        super()._advance()

    def _write(self, values: list[float], groups: list[dict[str, Any]]) -> None:
        super()._write(values, groups)
        if self.use_betas:
            for group in groups:
                group["betas"] = (group["momentum"], *group["betas"][1:])


class ConstantMomentum(_OfMomentum, ConstantParamScheduler):
    """Momentum times `factor`."""


class CosineAnnealingMomentum(_OfMomentum, CosineAnnealingParamScheduler):
    """Momentum down half a cosine wave to `eta_min` or `eta_min_ratio` times its base."""


class CosineRestartMomentum(_OfMomentum, CosineRestartParamScheduler):
    """Cosine annealing of the momentum in periods, each beginning at its own weight."""


class ExponentialMomentum(_OfMomentum, ExponentialParamScheduler):
    """Momentum times `gamma` at every step."""


class LinearMomentum(_OfMomentum, LinearParamScheduler):
    """Momentum from `start_factor` to `end_factor` times its base."""


class MultiStepMomentum(_OfMomentum, MultiStepParamScheduler):
    """Momentum times `gamma` at each milestone, counted from `begin`."""


class PolyMomentum(_OfMomentum, PolyParamScheduler):
    """Momentum down to `eta_min` or `eta_min_ratio` times its base with a power."""


class ReduceOnPlateauMomentum(_OfMomentum, ReduceOnPlateauParamScheduler):
    """Momentum times `factor` when a metric stops getting better."""


class StepMomentum(_OfMomentum, StepParamScheduler):
    """Momentum times `gamma` every `step_size` steps."""
