"""The schedules of the learning rate, by the names that configs use: a class for each family.

Arguments, errors and the formula of `XxxLR` are those of `XxxParamScheduler` without `param_name`.

Example:
    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    >>> warm_up = LinearLR(optimizer, start_factor=1e-6, begin=0, end=1500, by_epoch=False)
    >>> down = PolyLR(optimizer, power=0.9, eta_min=1e-4, begin=1500, end=40000, by_epoch=False)
    >>> for scheduler in (warm_up, down):  # once per iteration, after the optimizer's step
    ...     scheduler.step()
"""

from __future__ import annotations

from seg_optim.checks import check_arguments
from seg_optim.protocols import HasGroups
from seg_optim.schedules.arguments import POSITIONS
from seg_optim.schedules.base import ParamScheduler
from seg_optim.schedules.cosine import (
    CosineAnnealingParamScheduler,
    CosineRestartParamScheduler,
    OneCycleParamScheduler,
)
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
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineRestartLR",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolyLR",
    "PolyLRRatio",
    "ReduceOnPlateauLR",
    "StepLR",
]


class _OfLearningRate(ParamScheduler):
    """Fills in `param_name='lr'`."""

    _filled_in = ("param_name",)

    def __init__(self, optimizer: HasGroups, *args: object, **kwargs: object) -> None:
        check_arguments(type(self).__name__, type(self), kwargs)
        super().__init__(optimizer, "lr", *args, **kwargs)  # type: ignore[arg-type] # the family's, next in line


class ConstantLR(_OfLearningRate, ConstantParamScheduler):
    """Learning rate times `factor`, for a short and flat warm-up."""


class CosineAnnealingLR(_OfLearningRate, CosineAnnealingParamScheduler):
    """Learning rate down half a cosine wave to `eta_min` or `eta_min_ratio` times its base."""


class CosineRestartLR(_OfLearningRate, CosineRestartParamScheduler):
    """Cosine annealing of the learning rate in periods, each beginning at its own weight."""


class ExponentialLR(_OfLearningRate, ExponentialParamScheduler):
    """Learning rate times `gamma` at every step."""


class LinearLR(_OfLearningRate, LinearParamScheduler):
    """Learning rate from `start_factor` to `end_factor` times its base: the usual warm-up."""


class MultiStepLR(_OfLearningRate, MultiStepParamScheduler):
    """Learning rate times `gamma` at each milestone, counted from `begin`."""


class OneCycleLR(_OfLearningRate, OneCycleParamScheduler):
    """Learning rate up to `eta_max` and far down again within `total_steps`."""


class PolyLR(_OfLearningRate, PolyParamScheduler):
    """Learning rate down to `eta_min` or `eta_min_ratio` times its base with a power: segmentation's usual one."""


class ReduceOnPlateauLR(_OfLearningRate, ReduceOnPlateauParamScheduler):
    """Learning rate times `factor` when a metric stops getting better."""


class StepLR(_OfLearningRate, StepParamScheduler):
    """Learning rate times `gamma` every `step_size` steps."""


class PolyLRRatio(_OfLearningRate, PolyParamScheduler):
    """`PolyLR` whose floor is `eta_min_ratio` (the first argument) times each group's base learning rate.

    Kept for MMSegmentation configs; `PolyLR(eta_min_ratio=...)` does the same.
    """

    _positions = POSITIONS

    def __init__(
        self, optimizer: HasGroups, eta_min_ratio: float | None = None, *args: object, **kwargs: object
    ) -> None:
        super().__init__(optimizer, *args, eta_min_ratio=eta_min_ratio, **kwargs)
