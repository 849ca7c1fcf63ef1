"""EMA, checkpoints, early stopping, logging and the other training hooks, in anybody's loop."""

from __future__ import annotations

from seg_hooks.__about__ import __version__
from seg_hooks.averaging import (
    BaseAveragedModel,
    ExponentialMovingAverage,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)
from seg_hooks.checkpoint import CheckpointHook
from seg_hooks.early_stopping import EarlyStoppingHook
from seg_hooks.ema import EMAHook
from seg_hooks.hook import Hook
from seg_hooks.housekeeping import EmptyCacheHook, SyncBuffersHook
from seg_hooks.iter_timer import IterTimerHook
from seg_hooks.logger import LoggerHook
from seg_hooks.nan_guard import NanGuardHook
from seg_hooks.param_scheduler import ParamSchedulerHook
from seg_hooks.profiler import ProfilerHook
from seg_hooks.progress_bar import ProgressBarHook
from seg_hooks.removed import NaiveVisualizationHook, NPUProfilerHook
from seg_hooks.runtime_info import RuntimeInfoHook
from seg_hooks.sampler_seed import DistSamplerSeedHook
from seg_hooks.state import TrainState
from seg_hooks.throughput import ThroughputHook

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
