"""The schedules of the learning rate, by the names that configs use."""

from __future__ import annotations

from typing import Any

from seg_optim.checks import check_arguments
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


class _OfLearningRate:
    """Fills in `param_name='lr'`."""

    def __init__(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        check_arguments(type(self).__name__, type(self), kwargs)
        super().__init__(optimizer, "lr", *args, **kwargs)  # type: ignore[call-arg]


class ConstantLR(_OfLearningRate, ConstantParamScheduler):
    """Learning rate times `factor`, for a short and flat warm-up.

    Arguments, errors and the formula: `ConstantParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = ConstantLR(optimizer, factor=0.5, begin=0, end=3, by_epoch=False)
        >>> scheduler.step()
    """


class CosineAnnealingLR(_OfLearningRate, CosineAnnealingParamScheduler):
    """Learning rate down half a cosine wave to `eta_min` or `eta_min_ratio` times its base.

    Arguments, errors and the formula: `CosineAnnealingParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = CosineAnnealingLR(optimizer, eta_min_ratio=0.01, end=1000, by_epoch=False)
        >>> scheduler.step()
    """


class CosineRestartLR(_OfLearningRate, CosineRestartParamScheduler):
    """Cosine annealing of the learning rate in periods, each beginning at its own weight.

    Arguments, errors and the formula: `CosineRestartParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = CosineRestartLR(optimizer, periods=[4, 6], restart_weights=[1, 0.5], eta_min=0, by_epoch=False)
        >>> scheduler.step()
    """


class ExponentialLR(_OfLearningRate, ExponentialParamScheduler):
    """Learning rate times `gamma` at every step.

    Arguments, errors and the formula: `ExponentialParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = ExponentialLR(optimizer, gamma=0.99, by_epoch=False)
        >>> scheduler.step()
    """


class LinearLR(_OfLearningRate, LinearParamScheduler):
    """Learning rate from `start_factor` to `end_factor` times its base: the usual warm-up.

    Arguments, errors and the formula: `LinearParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = LinearLR(optimizer, start_factor=1e-6, begin=0, end=1500, by_epoch=False)
        >>> scheduler.step()
    """


class MultiStepLR(_OfLearningRate, MultiStepParamScheduler):
    """Learning rate times `gamma` at each milestone, counted from `begin`.

    Arguments, errors and the formula: `MultiStepParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = MultiStepLR(optimizer, milestones=[600, 800], by_epoch=False)
        >>> scheduler.step()
    """


class OneCycleLR(_OfLearningRate, OneCycleParamScheduler):
    """Learning rate up to `eta_max` and far down again within `total_steps`.

    Arguments, errors and the formula: `OneCycleParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = OneCycleLR(optimizer, eta_max=0.1, total_steps=1000, by_epoch=False)
        >>> scheduler.step()
    """


class PolyLR(_OfLearningRate, PolyParamScheduler):
    """Learning rate down to `eta_min` (or `eta_min_ratio` times its base) with a power: segmentation's usual schedule.

    Arguments, errors and the formula: `PolyParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = PolyLR(optimizer, power=0.9, eta_min=1e-4, end=1000, by_epoch=False)
        >>> scheduler.step()
    """


class ReduceOnPlateauLR(_OfLearningRate, ReduceOnPlateauParamScheduler):
    """Learning rate times `factor` when a metric stops getting better.

    Arguments, errors and the formula: `ReduceOnPlateauParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = ReduceOnPlateauLR(optimizer, monitor='mIoU', rule='greater', patience=3)
        >>> scheduler.step()
    """


class StepLR(_OfLearningRate, StepParamScheduler):
    """Learning rate times `gamma` every `step_size` steps.

    Arguments, errors and the formula: `StepParamScheduler` without `param_name`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> scheduler = StepLR(optimizer, step_size=300, by_epoch=False)
        >>> scheduler.step()
    """


class PolyLRRatio(_OfLearningRate, PolyParamScheduler):
    """`PolyLR` whose floor is `eta_min_ratio` (the first argument) times each group's base learning rate.

    Kept for MMSegmentation configs; `PolyLR(eta_min_ratio=...)` does the same.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        >>> PolyLRRatio(optimizer, 0.03, power=0.9, begin=0, end=1000, by_epoch=False).values
        [0.01]
    """

    def __init__(self, optimizer: Any, eta_min_ratio: float | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, *args, eta_min_ratio=eta_min_ratio, **kwargs)
