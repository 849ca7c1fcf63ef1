"""Optimizer wrappers, rules for parameter groups, layer-wise decay and schedules that do what the config says."""

from __future__ import annotations

from seg_optim.__about__ import __version__
from seg_optim.build import build_optim_wrapper
from seg_optim.explain import Explanation, explain
from seg_optim.groups.constructor import DefaultOptimWrapperConstructor, ForceDefaultOptimWrapperConstructor
from seg_optim.groups.freeze import FreezeHook, Frozen, freeze
from seg_optim.groups.layer_decay import LayerDecayOptimizerConstructor, LearningRateDecayOptimizerConstructor
from seg_optim.groups.param_groups import layer_decay_param_groups, param_groups
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
from seg_optim.schedules.learning_rate import (
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    PolyLRRatio,
    ReduceOnPlateauLR,
    StepLR,
)
from seg_optim.schedules.momentum import (
    ConstantMomentum,
    CosineAnnealingMomentum,
    CosineRestartMomentum,
    ExponentialMomentum,
    LinearMomentum,
    MultiStepMomentum,
    PolyMomentum,
    ReduceOnPlateauMomentum,
    StepMomentum,
)
from seg_optim.schedules.plateau import ReduceOnPlateauParamScheduler
from seg_optim.schedules.plot import SchedulePlot, plot_schedule
from seg_optim.wrappers.amp import AmpOptimWrapper, ApexOptimWrapper
from seg_optim.wrappers.wrapper import OptimWrapper
from seg_optim.wrappers.wrapper_dict import OptimWrapperDict

__all__ = [
    "AmpOptimWrapper",
    "ApexOptimWrapper",
    "ConstantLR",
    "ConstantMomentum",
    "ConstantParamScheduler",
    "CosineAnnealingLR",
    "CosineAnnealingMomentum",
    "CosineAnnealingParamScheduler",
    "CosineRestartLR",
    "CosineRestartMomentum",
    "CosineRestartParamScheduler",
    "DefaultOptimWrapperConstructor",
    "Explanation",
    "ExponentialLR",
    "ExponentialMomentum",
    "ExponentialParamScheduler",
    "ForceDefaultOptimWrapperConstructor",
    "FreezeHook",
    "Frozen",
    "LayerDecayOptimizerConstructor",
    "LearningRateDecayOptimizerConstructor",
    "LinearLR",
    "LinearMomentum",
    "LinearParamScheduler",
    "MultiStepLR",
    "MultiStepMomentum",
    "MultiStepParamScheduler",
    "OneCycleLR",
    "OneCycleParamScheduler",
    "OptimWrapper",
    "OptimWrapperDict",
    "ParamScheduler",
    "PolyLR",
    "PolyLRRatio",
    "PolyMomentum",
    "PolyParamScheduler",
    "ReduceOnPlateauLR",
    "ReduceOnPlateauMomentum",
    "ReduceOnPlateauParamScheduler",
    "SchedulePlot",
    "StepLR",
    "StepMomentum",
    "StepParamScheduler",
    "__version__",
    "build_optim_wrapper",
    "explain",
    "freeze",
    "layer_decay_param_groups",
    "param_groups",
    "plot_schedule",
]
