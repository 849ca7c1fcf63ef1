"""Schedulers that derive from MMEngine's: the optimizer that they ask for, and their states in checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer

from seg_runner.mmengine.classes import is_of_mmengine

__all__ = ["OptimizerView", "load_scheduler_state", "optimizer_for", "scheduler_state"]

PER_GROUP = ("base_values", "_last_value")
"""Values of a scheduler's state that are lists of one number for each group."""


class OptimizerView(Optimizer):
    """An optimizer wrapper, seen as an optimizer: MMEngine's schedulers take only that, or a wrapper of its own.

    Groups are asked for anew each time, since loading a state replaces them; everything else is the wrapper's. It
    counts as stepped from the start: the wrapper is what steps, and MMEngine's warning looks at the view.
    """

    def __init__(self, wrapper: Any) -> None:
        self.__dict__["wrapper"] = wrapper

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["wrapper"], name)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]  # an attribute there
        """Return the wrapper's groups, with the one that follows the schedule unmultiplied."""
        groups: list[dict[str, Any]] = self.wrapper.param_groups
        return groups

    @property
    def _global_step(self) -> int:
        return 1

    @_global_step.setter
    def _global_step(self, count: int) -> None:
        """Leave it: MMEngine sets it to 0 at first."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the optimizer."""
        return self.wrapper.step() if closure is None else self.wrapper.step(closure=closure)


def optimizer_for(scheduler: object, wrapper: Any) -> Any:
    """Return what a scheduler of this class takes for its optimizer: the wrapper, or for MMEngine's a view of ours."""
    if not is_of_mmengine(scheduler) or is_of_mmengine(type(wrapper)) or isinstance(wrapper, Optimizer):
        return wrapper
    return OptimizerView(wrapper)


def scheduler_state(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's state, with one value for each of MMEngine's groups.

    MMEngine's states hold functions where a class keeps one as an attribute: its constructor makes them anew.
    """
    state: dict[str, Any] = scheduler.state_dict()
    if not is_of_mmengine(type(scheduler)):
        return state
    state = {key: value for key, value in state.items() if not callable(value)}
    return _regrouped(scheduler, state, "unfold")


def load_scheduler_state(scheduler: Any, state: Mapping[str, Any]) -> None:
    """Let a scheduler take over a state that holds one value for each of MMEngine's groups."""
    scheduler.load_state_dict(_regrouped(scheduler, state, "fold"))


def _regrouped(scheduler: Any, state: Mapping[str, Any], change: str) -> dict[str, Any]:
    own = dict(state)
    view = getattr(scheduler, "optimizer", None)
    regroup = getattr(view.wrapper, change, None) if isinstance(view, OptimizerView) else None
    for key in PER_GROUP:
        if callable(regroup) and isinstance(own.get(key), list) and (values := regroup(own[key])) is not None:
            own[key] = values
    return own
