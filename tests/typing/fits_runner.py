"""Read by the type checker only: what fits the Protocols of seg-runner."""

from __future__ import annotations

from seg_optim import AmpOptimWrapper, OptimWrapper, PolyLR
from seg_registry import builder
from seg_runner import Evaluator, IoUMetric, Runner, protocols
from seg_runner.assembly.fallback import (
    FallbackCheckpointHook,
    FallbackIterTimerHook,
    FallbackLoggerHook,
    FallbackParamSchedulerHook,
    FallbackRuntimeInfoHook,
)
from seg_runner.log.processor import LogProcessor
from seg_runner.loop.evaluate import EvalRunner
from seg_runner.loop.train import TrainRunner
from seg_vis import SegLocalVisualizer
from seg_vis.protocols import Position


def builder_fits() -> protocols.Builder:
    """seg-registry's builder, found by entry point."""
    return builder()


def wrapper_fits(wrapper: OptimWrapper) -> tuple[protocols.Updates, protocols.Rates, protocols.Stateful]:
    """seg-optim's wrapper."""
    return wrapper, wrapper, wrapper


def amp_wrapper_fits(wrapper: AmpOptimWrapper) -> tuple[protocols.Updates, protocols.Rates, protocols.Stateful]:
    """The mixed-precision wrapper."""
    return wrapper, wrapper, wrapper


def scheduler_fits(scheduler: PolyLR) -> protocols.Scheduler:
    """seg-optim's schedulers."""
    return scheduler


def visualizer_fits(visualizer: SegLocalVisualizer) -> tuple[protocols.Pictures, protocols.Resumes]:
    """seg-vis's visualizer."""
    return visualizer, visualizer


def runner_fits_the_picture_hook(runner: Runner) -> Position:
    """seg-vis's hook asks little of the runner."""
    return runner


def metric_fits(metric: IoUMetric) -> protocols.Metric:
    """Our own metric."""
    return metric


def evaluator_is_there(evaluator: Evaluator) -> Evaluator:
    """Evaluator drives metrics of that shape."""
    return evaluator


def runner_fits_its_loops(runner: Runner) -> tuple[TrainRunner, EvalRunner]:
    """What the loops ask of the runner."""
    return runner, runner


def runner_fits_the_fallback_hooks(runner: Runner) -> None:
    """What the hooks ask of it that stand in for the default ones."""
    FallbackRuntimeInfoHook().before_train_iter(runner)
    FallbackIterTimerHook()._after_iter(runner, "train")
    FallbackLoggerHook().after_train_iter(runner, 0)
    FallbackLoggerHook().after_val_epoch(runner)
    FallbackParamSchedulerHook().after_train_iter(runner)
    FallbackCheckpointHook().after_train(runner)


def runner_fits_the_log_processor(runner: Runner, processor: LogProcessor) -> None:
    """What the log processor asks of it."""
    processor.get_log_after_iter(runner, 0, "train")
