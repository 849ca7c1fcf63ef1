"""The schedules of the momentum, by the names that configs use; for the Adam family it is `betas[0]`."""

from __future__ import annotations

from typing import Any

from seg_optim.checks import check_arguments
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


class _OfMomentum:
    """Fills in `param_name='momentum'`; where there is only `betas`, a mirror of its first value is scheduled."""

    def __init__(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        groups = getattr(optimizer, "param_groups", [])
        defaults = getattr(base_optimizer(optimizer), "defaults", {})
        self.use_betas = "momentum" not in defaults and "betas" in defaults
        if groups and not self.use_betas and "momentum" not in defaults:
            name = type(base_optimizer(optimizer)).__name__
            raise ValueError(
                f"{type(self).__name__}: {name} has neither momentum nor betas, so there is none to change"
            )
        check_arguments(type(self).__name__, type(self), kwargs)
        super().__init__(optimizer, "momentum", *args, **kwargs)  # type: ignore[call-arg]

    def _base(self, group: dict[str, Any], index: int, new: bool) -> float:
        if self.use_betas:
            group["momentum"] = group["betas"][0]
        return super()._base(group, index, new)  # type: ignore[misc,no-any-return]

    def _take_in(self) -> None:
        super()._take_in()  # type: ignore[misc]
        if self.use_betas:  # a state that no schedule of the momentum has seen holds no mirror
            for group in self._groups:  # type: ignore[attr-defined]
                group.setdefault("momentum", group["betas"][0])

    def _write(self, values: list[float]) -> None:
        super()._write(values)  # type: ignore[misc]
        if self.use_betas:
            for group in self._groups:  # type: ignore[attr-defined]
                group["betas"] = (group["momentum"], *group["betas"][1:])


class ConstantMomentum(_OfMomentum, ConstantParamScheduler):
    """Momentum times `factor`.

    Arguments, errors and the formula: `ConstantParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = ConstantMomentum(optimizer, factor=0.5, begin=0, end=3, by_epoch=False)
        >>> scheduler.step()
    """


class CosineAnnealingMomentum(_OfMomentum, CosineAnnealingParamScheduler):
    """Momentum down half a cosine wave to `eta_min` or `eta_min_ratio` times its base.

    Arguments, errors and the formula: `CosineAnnealingParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = CosineAnnealingMomentum(optimizer, eta_min_ratio=0.01, end=1000, by_epoch=False)
        >>> scheduler.step()
    """


class CosineRestartMomentum(_OfMomentum, CosineRestartParamScheduler):
    """Cosine annealing of the momentum in periods, each beginning at its own weight.

    Arguments, errors and the formula: `CosineRestartParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = CosineRestartMomentum(optimizer, [4, 6], [1, 0.5], eta_min=0, by_epoch=False)
        >>> scheduler.step()
    """


class ExponentialMomentum(_OfMomentum, ExponentialParamScheduler):
    """Momentum times `gamma` at every step.

    Arguments, errors and the formula: `ExponentialParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = ExponentialMomentum(optimizer, gamma=0.99, by_epoch=False)
        >>> scheduler.step()
    """


class LinearMomentum(_OfMomentum, LinearParamScheduler):
    """Momentum from `start_factor` to `end_factor` times its base.

    Arguments, errors and the formula: `LinearParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = LinearMomentum(optimizer, start_factor=1e-6, begin=0, end=1500, by_epoch=False)
        >>> scheduler.step()
    """


class MultiStepMomentum(_OfMomentum, MultiStepParamScheduler):
    """Momentum times `gamma` at each milestone, counted from `begin`.

    Arguments, errors and the formula: `MultiStepParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = MultiStepMomentum(optimizer, milestones=[600, 800], by_epoch=False)
        >>> scheduler.step()
    """


class PolyMomentum(_OfMomentum, PolyParamScheduler):
    """Momentum down to `eta_min` (or `eta_min_ratio` times its base) with a power.

    Arguments, errors and the formula: `PolyParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = PolyMomentum(optimizer, power=0.9, eta_min=0.5, end=1000, by_epoch=False)
        >>> scheduler.step()
    """


class ReduceOnPlateauMomentum(_OfMomentum, ReduceOnPlateauParamScheduler):
    """Momentum times `factor` when a metric stops getting better.

    Arguments, errors and the formula: `ReduceOnPlateauParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = ReduceOnPlateauMomentum(optimizer, monitor='mIoU', rule='greater', patience=3)
        >>> scheduler.step()
    """


class StepMomentum(_OfMomentum, StepParamScheduler):
    """Momentum times `gamma` every `step_size` steps.

    Arguments, errors and the formula: `StepParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
        >>> scheduler = StepMomentum(optimizer, step_size=300, by_epoch=False)
        >>> scheduler.step()
    """
