"""EMA, checkpoints, early stopping, logging and the other training hooks, in anybody's loop."""

from __future__ import annotations

from seg_hooks.__about__ import __version__
from seg_hooks.hook import Hook
from seg_hooks.hooks.between_epochs import DistSamplerSeedHook, EmptyCacheHook, SyncBuffersHook
from seg_hooks.hooks.checkpoint import CheckpointHook
from seg_hooks.hooks.early_stopping import EarlyStoppingHook
from seg_hooks.hooks.ema import EMAHook
from seg_hooks.hooks.logger import LoggerHook
from seg_hooks.hooks.nan_guard import NanGuardHook
from seg_hooks.hooks.param_scheduler import ParamSchedulerHook
from seg_hooks.hooks.profiler import ProfilerHook
from seg_hooks.hooks.progress_bar import ProgressBarHook
from seg_hooks.hooks.runtime_info import RuntimeInfoHook
from seg_hooks.hooks.timing import IterTimerHook, ThroughputHook
from seg_hooks.hooks.unavailable import NaiveVisualizationHook, NPUProfilerHook
from seg_hooks.model.averaging import (
    BaseAveragedModel,
    ExponentialMovingAverage,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)
from seg_hooks.own_loop.state import TrainState

__all__ = [
    "BaseAveragedModel",
    "CheckpointHook",
    "DistSamplerSeedHook",
    "EMAHook",
    "EarlyStoppingHook",
    "EmptyCacheHook",
    "ExponentialMovingAverage",
    "Hook",
    "IterTimerHook",
    "LoggerHook",
    "MomentumAnnealingEMA",
    "NPUProfilerHook",
    "NaiveVisualizationHook",
    "NanGuardHook",
    "ParamSchedulerHook",
    "ProfilerHook",
    "ProgressBarHook",
    "RuntimeInfoHook",
    "StochasticWeightAverage",
    "SyncBuffersHook",
    "ThroughputHook",
    "TrainState",
    "__version__",
]
