"""ParamSchedulerHook: steps the schedulers of learning rate and momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seg_hooks.hook import Hook
from seg_hooks.protocols import Updates

__all__ = ["ParamSchedulerHook"]


class ParamSchedulerHook(Hook[Updates]):
    """Steps schedulers with `by_epoch=False` after each iteration, others after each epoch (plateau ones: validation).

    A scheduler without `by_epoch` (torch's own) is stepped once per epoch, as torch's documentation does. Order is
    that of the list. Runs before CheckpointHook, so a checkpoint holds the rates of the next step.
    """

    priority = "LOW"

    def __init__(self) -> None:
        self._per_iter: list[Callable[[], None]] = []
        self._per_epoch: list[Any] = []

    def before_train(self, runner: Updates) -> None:
        """Sort the schedulers by when they are stepped."""
        schedulers = as_list(runner.param_schedulers)
        for scheduler in schedulers:
            _refuse_plateau_of_torch(scheduler)
        self._per_iter = [s.step for s in schedulers if not getattr(s, "by_epoch", True)]
        self._per_epoch = [s for s in schedulers if getattr(s, "by_epoch", True)]

    def after_train_iter(
        self, runner: Updates, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Step those that count iterations."""
        for step in self._per_iter:
            step()

    def after_train_epoch(self, runner: Updates) -> None:
        """Step those that count epochs; one that waits for a metric counts the epoch and no more."""
        for scheduler in self._per_epoch:
            scheduler.step()

    def after_val_epoch(self, runner: Updates, metrics: dict[str, Any] | None = None) -> None:
        """Step those that wait for a metric."""
        for scheduler in as_list(runner.param_schedulers) if metrics else ():
            if getattr(scheduler, "by_epoch", True) and getattr(scheduler, "need_val_args", False):
                scheduler.step(metrics)


def as_list(schedulers: object) -> list[Any]:
    """Return the schedulers of a list, or of a dict of lists, in order."""
    if schedulers is None:
        return []
    if isinstance(schedulers, dict):
        return [one for group in schedulers.values() for one in as_list(group)]
    if isinstance(schedulers, list | tuple):
        return list(schedulers)
    if callable(getattr(schedulers, "step", None)):
        return [schedulers]
    raise TypeError(
        f"ParamSchedulerHook: param_schedulers is a {type(schedulers).__name__}; "
        "give a scheduler, a list of schedulers, or a dict of such lists."
    )


def _refuse_plateau_of_torch(scheduler: object) -> None:
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        raise TypeError(
            "ParamSchedulerHook: torch's ReduceLROnPlateau does not name the metric it watches; use "
            "ReduceOnPlateauLR(monitor=...) of seg-optim, or step it yourself."
        )
