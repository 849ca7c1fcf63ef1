"""Optimizer wrappers, rules for parameter groups, layer-wise decay and schedules that do what the config says."""

from __future__ import annotations

from seg_optim.__about__ import __version__
from seg_optim.amp import AmpOptimWrapper, ApexOptimWrapper
from seg_optim.build import build_optim_wrapper
from seg_optim.constructor import DefaultOptimWrapperConstructor, ForceDefaultOptimWrapperConstructor
from seg_optim.cosine import CosineAnnealingParamScheduler, CosineRestartParamScheduler, OneCycleParamScheduler
from seg_optim.explain import Explanation, explain
from seg_optim.freeze import FreezeHook, Frozen, freeze
from seg_optim.layer_decay import LayerDecayOptimizerConstructor, LearningRateDecayOptimizerConstructor
from seg_optim.learning_rate import (
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
from seg_optim.momentum import (
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
from seg_optim.plain import layer_decay_param_groups, param_groups
from seg_optim.plateau import ReduceOnPlateauParamScheduler
from seg_optim.plot import SchedulePlot, plot_schedule
from seg_optim.schedule_base import ParamScheduler
from seg_optim.schedulers import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    PolyParamScheduler,
    StepParamScheduler,
)
from seg_optim.wrapper import OptimWrapper
from seg_optim.wrapper_dict import OptimWrapperDict

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
