"""What a run uses where seg-optim and seg-hooks are absent: a plain optimizer's wrapper, and one hook for each slot.

Each hook stands in for one default hook while that one is absent.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from logging import Logger
from typing import Any, Protocol, SupportsFloat

import torch

from seg_runner.log.message_hub import MessageHub
from seg_runner.mmengine.bases import derives_from
from seg_runner.model.not_trained import Watch
from seg_runner.protocols import Pictures, Rates

__all__ = ["FALLBACK_HOOKS", "FallbackOptimWrapper", "each_scheduler", "fallback_hooks", "monitored_metric"]


class FallbackOptimWrapper:
    """A plain `torch.optim` optimizer in the shape of an optimizer wrapper: no accumulation, no clipping."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.grad_norm: torch.Tensor | None = None
        self.inner_count = 0
        self.accumulative_counts = 1
        self._watch: Watch | None = None
        self._steps, self._look_after = 0, 1  # it looks after the steps 1, 2, 4, 8, ... of this session

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups."""
        return self.optimizer.param_groups

    def optim_context(self, model: object) -> AbstractContextManager[Any]:
        """Put nothing round the forward pass."""
        return nullcontext()

    def update_params(self, loss: torch.Tensor) -> None:
        """Compute gradients, step, clear them."""
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.inner_count += 1
        if self._watch is not None:
            self._steps += 1
            if self._steps == self._look_after:
                self._look_after *= 2
                self._watch.look()

    def initialize_count_status(self, model: torch.nn.Module, init_counts: int, max_counts: int) -> None:
        """Take over where the run stands; from here on parameters that are not trained are told."""
        self.inner_count = init_counts
        if self._watch is None:
            self._watch = Watch(model, self.optimizer)
        self._watch.look()

    def get_lr(self) -> dict[str, list[float]]:
        """Return the learning rate of each group."""
        return {"lr": [float(group["lr"]) for group in self.optimizer.param_groups]}

    def get_momentum(self) -> dict[str, list[float]]:
        """Return the momentum of each group (the first beta of Adam's)."""
        return {
            "momentum": [float(group.get("momentum", group.get("betas", (0.0,))[0])) for group in self.param_groups]
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state."""
        if self._watch is not None:
            self._watch.look()
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the optimizer's state."""
        self.optimizer.load_state_dict(state_dict)


class _Measures(Protocol):
    @property
    def message_hub(self) -> MessageHub: ...

    @property
    def optim_wrapper(self) -> Rates: ...

    @property
    def iter(self) -> int: ...

    @property
    def max_iters(self) -> int: ...


class _Logs(Protocol):
    @property
    def iter(self) -> int: ...

    @property
    def logger(self) -> Logger: ...

    @property
    def visualizer(self) -> Pictures: ...

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]: ...


class _LogsSteps(_Logs, Protocol):
    @property
    def max_iters(self) -> int: ...

    @property
    def log_interval(self) -> int: ...


class _LogsPasses(_Logs, Protocol):
    @property
    def val_dataloader(self) -> object: ...

    @property
    def test_dataloader(self) -> object: ...


class _Schedules(Protocol):
    @property
    def param_schedulers(self) -> Any: ...

    @property
    def counts_epochs(self) -> bool: ...


class _Saves(Protocol):
    def save_last(self) -> object: ...


class FallbackRuntimeInfoHook:
    """Losses, learning rate and metrics go to the message hub as they come; stands in for RuntimeInfoHook."""

    priority = "VERY_HIGH"

    def before_train_iter(self, runner: _Measures) -> None:
        """Note the learning rate that this step uses."""
        for name, values in runner.optim_wrapper.get_lr().items():
            runner.message_hub.update_scalar(f"train/{name}", values[0])

    def after_train_iter(self, runner: _Measures, outputs: Mapping[str, object] | None) -> None:
        """Note the losses, still on the device."""
        runner.message_hub.update_scalars({f"train/{name}": value for name, value in (outputs or {}).items()})

    def after_val_epoch(self, runner: _Measures, metrics: Mapping[str, object]) -> None:
        """Note the metrics."""
        _note_metrics(runner.message_hub, "val", metrics)

    def after_test_epoch(self, runner: _Measures, metrics: Mapping[str, object]) -> None:
        """Note the metrics."""
        _note_metrics(runner.message_hub, "test", metrics)


def _note_metrics(hub: MessageHub, mode: str, metrics: Mapping[str, object]) -> None:
    for name, value in metrics.items():
        if isinstance(value, SupportsFloat) and (isinstance(value, (int, float)) or getattr(value, "size", 0) == 1):
            hub.update_scalar(f"{mode}/{name}", value)
        else:
            hub.update_info(f"{mode}/{name}", value)


class FallbackIterTimerHook:
    """Times of steps and of waiting for data, and what is left; stands in for IterTimerHook."""

    def __init__(self) -> None:
        self._last = 0.0
        self._spent = 0.0
        self._steps = 0

    def _before_epoch(self, runner: object) -> None:
        self._last = time.perf_counter()

    def _before_iter(self, runner: _Measures, mode: str) -> None:
        runner.message_hub.update_scalar(f"{mode}/data_time", time.perf_counter() - self._last)

    def _after_iter(self, runner: _Measures, mode: str) -> None:
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        runner.message_hub.update_scalar(f"{mode}/time", spent)
        if mode == "train":
            self._spent += spent
            self._steps += 1
            left = max(runner.max_iters - runner.iter - 1, 0)
            runner.message_hub.update_info("eta", self._spent / self._steps * left)


class FallbackLoggerHook:
    """A line and a record every `log_interval` iterations and after each validation; stands in for LoggerHook."""

    priority = "BELOW_NORMAL"

    def after_train_iter(self, runner: _LogsSteps, batch_idx: int) -> None:
        """Write a line and a record every `log_interval` steps, and at the last."""
        done = runner.iter + 1
        if done % runner.log_interval == 0 or done == runner.max_iters:
            record, text = runner.log_record("train", batch_idx)
            runner.logger.info(text)
            runner.visualizer.add_scalars({**record, "mode": "train"}, step=done)

    def after_val_epoch(self, runner: _LogsPasses) -> None:
        """Write the metrics."""
        _write_summary(runner, "val", runner.val_dataloader)

    def after_test_epoch(self, runner: _LogsPasses) -> None:
        """Write the metrics."""
        _write_summary(runner, "test", runner.test_dataloader)

    def after_run(self, runner: _Logs) -> None:
        """Leave nothing unwritten."""
        runner.visualizer.close()


def _write_summary(runner: _Logs, mode: str, loader: object) -> None:
    try:
        length = len(loader)  # type: ignore[arg-type]  # raises where the loader has no length
    except TypeError:
        length = 0
    record, text = runner.log_record(mode, length, finished=True)
    runner.logger.info(text)
    runner.visualizer.add_scalars({**record, "mode": mode}, step=runner.iter)


class FallbackParamSchedulerHook:
    """Steps the schedulers, torch's own too; stands in for ParamSchedulerHook.

    Torch's own say nothing about epochs: they are stepped in the unit in which the training loop counts.
    """

    priority = "LOW"

    def __init__(self) -> None:
        self._sorted: object = None
        self._by_iter: list[Any] = []

    def after_train_iter(self, runner: _Schedules) -> None:
        """Step the schedulers that count iterations."""
        if runner.param_schedulers != self._sorted:
            self._sort(runner)
        for scheduler in self._by_iter:
            scheduler.step()

    def _sort(self, runner: _Schedules) -> None:
        """Note which schedulers count iterations; again where the runner has got others."""
        own = runner.param_schedulers
        self._sorted = {name: list(each) for name, each in own.items()} if isinstance(own, dict) else copy.copy(own)
        self._by_iter = [one for one in each_scheduler(own) if not _by_epoch(one, runner) and not _wants_metrics(one)]

    def after_train_epoch(self, runner: _Schedules) -> None:
        """Step the schedulers that count epochs."""
        for scheduler in each_scheduler(runner.param_schedulers):
            if _by_epoch(scheduler, runner) and not _wants_metrics(scheduler):
                scheduler.step()

    def after_val_epoch(self, runner: _Schedules, metrics: Mapping[str, Any]) -> None:
        """Step the schedulers that look at a metric."""
        for scheduler in each_scheduler(runner.param_schedulers):
            if getattr(scheduler, "need_val_args", False):
                scheduler.step(metrics)
            elif _wants_metrics(scheduler):
                scheduler.step(monitored_metric(scheduler, metrics))


def each_scheduler(schedulers: Mapping[str, Iterable[Any]] | Iterable[Any] | None) -> list[Any]:
    """Return the schedulers of a list, or of a dict of lists."""
    if isinstance(schedulers, dict):
        return [one for listed in schedulers.values() for one in listed]
    return list(schedulers or ())


def _by_epoch(scheduler: object, runner: _Schedules) -> bool:
    return bool(getattr(scheduler, "by_epoch", runner.counts_epochs))


def _wants_metrics(scheduler: object) -> bool:
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    return bool(getattr(scheduler, "need_val_args", False)) or isinstance(scheduler, plateau)


def monitored_metric(scheduler: object, metrics: Mapping[str, Any]) -> float:
    """Return what torch's ReduceLROnPlateau looks at: the metric that its attribute `monitor` names, or the only one.

    Raises:
        KeyError: it names none, and there are several; or one that is not among them.
    """
    name = getattr(scheduler, "monitor", None)
    if name is None and len(metrics) == 1:
        name = next(iter(metrics))
    if not isinstance(name, str) or name not in metrics:
        raise KeyError(
            f"ReduceLROnPlateau does not know which metric to look at ({name!r}): set its attribute `monitor` to one "
            f"of {', '.join(metrics)}"
        )
    return float(metrics[name])


class FallbackCheckpointHook:
    """Saves at the end of training; stands in for CheckpointHook."""

    priority = "VERY_LOW"

    def after_train(self, runner: _Saves) -> None:
        """Write the last checkpoint and point `last_checkpoint` at it."""
        runner.save_last()


class GradNormHook:
    """The norm of the gradients goes to the message hub; MMEngine's RuntimeInfoHook leaves that to its wrapper."""

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._last: object = None

    def after_train_iter(self, runner: _Measures) -> None:
        """Note the norm, where a step has measured a new one."""
        norm: Any = getattr(runner.optim_wrapper, "grad_norm", None)
        if norm is not self._last and norm is not None:
            runner.message_hub.update_scalar("train/grad_norm", norm)
        self._last = norm


#: Slot of a default hook -> the class that stands in for it, and the class name that makes it step aside.
FALLBACK_HOOKS: dict[str, tuple[type[Any], str]] = {
    "runtime_info": (FallbackRuntimeInfoHook, "RuntimeInfoHook"),
    "timer": (FallbackIterTimerHook, "IterTimerHook"),
    "logger": (FallbackLoggerHook, "LoggerHook"),
    "param_scheduler": (FallbackParamSchedulerHook, "ParamSchedulerHook"),
    "checkpoint": (FallbackCheckpointHook, "CheckpointHook"),
}


def fallback_hooks(hooks: Iterable[object], removed: Iterable[str], kept: Mapping[str, object]) -> dict[str, object]:
    """Return slot -> fallback hook, for each default hook that is neither registered nor left out on purpose.

    Args:
        hooks: The registered hooks.
        removed: Slots that were left out on purpose.
        kept: Fallback hooks of an earlier call, used again so that they keep what they counted.
    """
    names = {base.__name__ for hook in hooks for base in type(hook).__mro__}
    left_out = set(removed)
    wanted = {slot: make for slot, (make, name) in FALLBACK_HOOKS.items() if name not in names and slot not in left_out}
    if any(derives_from(hook, "hooks", "RuntimeInfoHook") for hook in hooks):
        wanted["grad_norm"] = GradNormHook
    return {slot: kept.get(slot) or make() for slot, make in wanted.items()}
