"""RuntimeInfoHook: puts progress, rates, losses and metrics into the message hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor

from seg_hooks.checks import flag
from seg_hooks.conversions import as_number, is_readable
from seg_hooks.hook import Hook
from seg_hooks.protocols import Data, Describes, Hub, Logs, Progress, Updates

__all__ = ["RuntimeInfoHook"]


class _HasGroups(Protocol):
    @property
    def param_groups(self) -> list[dict[str, Any]]: ...


class _Runner(Progress, Updates, Logs, Data, Describes, Protocol):
    pass


class RuntimeInfoHook(Hook[_Runner]):
    """Collects what the log shows: learning rates, losses, gradient norm, metrics, and where the run stands.

    Losses go in as the detached tensors that they are; nothing waits for the device. Nested metrics
    (`{"IoU": {"road": 0.9}}`) are stored flat (`val/IoU.road`).

    Args:
        group_rates: Also log the learning rate of every named parameter group, as `<group>.lr`.
    """

    priority = "VERY_HIGH"

    def __init__(self, group_rates: bool = False) -> None:
        self.group_rates = flag("RuntimeInfoHook", "group_rates", group_rates)
        self._names: dict[str, str] = {}
        self._norm: Any = None

    def before_run(self, runner: _Runner) -> None:
        """Store config, seed and name of the experiment."""
        hub, cfg = runner.message_hub, runner.cfg
        hub.update_info("cfg", str(getattr(cfg, "pretty_text", cfg)))
        hub.update_info("seed", runner.seed)
        hub.update_info("experiment_name", runner.experiment_name)

    def before_train(self, runner: _Runner) -> None:
        """Store progress, length of the run, and what the data set says about itself."""
        hub = runner.message_hub
        hub.update_info("loop_stage", "train")
        for name in ("epoch", "iter", "max_epochs", "max_iters"):
            hub.update_info(name, getattr(runner, name))
        metainfo = getattr(getattr(runner.train_dataloader, "dataset", None), "metainfo", None)
        if metainfo is not None:
            hub.update_info("dataset_meta", metainfo)

    def before_train_epoch(self, runner: _Runner) -> None:
        """Store the epoch."""
        runner.message_hub.update_info("epoch", runner.epoch)

    def before_train_iter(self, runner: _Runner, batch_idx: int, data_batch: object = None) -> None:
        """Store the iteration, and the learning rates of this step."""
        hub, wrapper, names = runner.message_hub, runner.optim_wrapper, self._names
        hub.update_info("iter", runner.iter)
        if wrapper is None:
            return
        for name, values in wrapper.get_lr().items():
            hub.update_scalar(names.get(name) or self._train_name(name), values[0])
        if self.group_rates:
            for name, rate in named_rates(wrapper):
                hub.update_scalar(names.get(name) or self._train_name(name), rate)

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Store the gradient norm and the values that the step returned."""
        names = self._names
        values: dict[str, Any] = {}
        norm = getattr(runner.optim_wrapper, "grad_norm", None)
        if norm is not self._norm:
            self._norm = norm
            if norm is not None:
                values["train/grad_norm"] = norm
        if outputs:
            for name, value in outputs.items():
                values[names.get(name) or self._train_name(name)] = value
        runner.message_hub.update_scalars(values)

    def after_train(self, runner: _Runner) -> None:
        """Remove the stage."""
        runner.message_hub.pop_info("loop_stage", None)

    def before_val(self, runner: _Runner) -> None:
        """Set the stage, remembering the one before."""
        self._enter(runner, "val")

    def after_val(self, runner: _Runner) -> None:
        """Set the stage that was before."""
        self._leave(runner)

    def before_test(self, runner: _Runner) -> None:
        """Set the stage, remembering the one before."""
        self._enter(runner, "test")

    def after_test(self, runner: _Runner) -> None:
        """Set the stage that was before."""
        self._leave(runner)

    def after_val_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Store the metrics."""
        store_metrics(runner.message_hub, "val", metrics)

    def after_test_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Store the metrics."""
        store_metrics(runner.message_hub, "test", metrics)

    def _train_name(self, name: str) -> str:
        self._names[name] = full = f"train/{name}"
        return full

    def _enter(self, runner: _Runner, stage: str) -> None:
        self._earlier = runner.message_hub.get_info("loop_stage")
        runner.message_hub.update_info("loop_stage", stage)

    def _leave(self, runner: _Runner) -> None:
        if getattr(self, "_earlier", None) is None:
            runner.message_hub.pop_info("loop_stage", None)
        else:
            runner.message_hub.update_info("loop_stage", self._earlier)


def named_rates(wrapper: _HasGroups) -> Iterator[tuple[str, float]]:
    """Yield `(<group>.lr, rate)` of each parameter group; a group without a name gets its number."""
    for number, group in enumerate(wrapper.param_groups):
        yield f"{group.get('name', f'group_{number}')}.lr", group["lr"]


def store_metrics(hub: Hub, mode: str, metrics: Mapping[str, Any] | None) -> None:
    """Store scalars as `{mode}/{name}`, nested ones flattened by dots, everything else as info."""
    for name, value in flatten(metrics or {}):
        scalar = as_scalar(value)
        if scalar is None:
            hub.update_info(f"{mode}/{name}", value)
        else:
            hub.update_scalar(f"{mode}/{name}", scalar)


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the items of nested dicts under dotted names.

    Example:
        >>> dict(flatten({"mIoU": 0.5, "IoU": {"road": 0.9}}))
        {'mIoU': 0.5, 'IoU.road': 0.9}
    """
    for name, value in metrics.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def as_scalar(value: object) -> Tensor | float | None:
    """Return a real number of any kind, a tensor or array of one element included; None for all else."""
    if isinstance(value, Tensor):  # what is on a device stays there, and nothing waits for it
        return value if value.numel() == 1 and is_readable(value) else None
    return None if isinstance(value, bool) else as_number(value)
