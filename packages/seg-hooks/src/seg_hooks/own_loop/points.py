"""Points: what the hooks of a TrainState do at each moment, checked once; and what they see of its optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from seg_hooks.checks import edit_distance
from seg_hooks.hook import Hook, priority_number
from seg_hooks.protocols import Progress

__all__ = ["OptimizerView", "Points", "in_order"]

KEYWORDS = {
    "after_val_epoch": ("metrics",),
    "after_test_epoch": ("metrics",),
    "before_save_checkpoint": ("checkpoint",),
    "after_load_checkpoint": ("checkpoint",),
    **{f"before_{mode}_iter": ("batch_idx", "data_batch") for mode in ("train", "val", "test")},
    **{f"after_{mode}_iter": ("batch_idx", "data_batch", "outputs") for mode in ("train", "val", "test")},
}


def in_order(hooks: Iterable[object]) -> list[object]:
    """Sort the hooks by priority; those of the same one keep their order."""
    return sorted(hooks, key=lambda hook: priority_number(getattr(hook, "priority", "NORMAL")))


class Points:
    """For each point the bound methods of the hooks that do something there, in order."""

    def __init__(self, hooks: Sequence[object]) -> None:
        self.hooks = hooks
        for hook in hooks:
            _check(hook)
        self.table = {
            point: [(type(hook).__name__, _fit(hook, point)) for hook in hooks if _lives(hook, point)]
            for point in Hook.stages
        }

    def fire(self, point: str, runner: Progress, **keywords: object) -> None:
        """Run one point; an exception keeps its type and gains the names of hook and point."""
        name = ""
        try:
            for name, call in self.table[point]:  # noqa: B007 - named in the note
                call(runner, **keywords)
        except Exception as error:
            error.add_note(f"in hook {name}, point {point}, after {runner.iter} finished iterations")
            raise

    def tell(self, method: str, runner: Progress, path: Path) -> None:
        """Call a method that is no point on the hooks that have it: they keep count of files that none asked for."""
        for hook in self.hooks:
            call = getattr(hook, method, None)
            if callable(call):
                call(runner, path)


def _lives(hook: object, point: str) -> bool:
    """Tell whether a hook does something at a point."""
    stages = getattr(hook, "get_triggered_stages", None)
    if callable(stages):
        return point in stages()
    method = getattr(hook, point, None)
    return callable(method) and not getattr(method, "__noop_point__", False)


def _check(hook: object) -> None:
    """Refuse what is no hook, or has a method named nearly like a point."""
    if isinstance(hook, type):
        raise TypeError(f"TrainState: hooks contains the class {hook.__name__}; give an object: {hook.__name__}(...).")
    if isinstance(hook, dict | str):
        raise TypeError(
            f"TrainState: hooks contains {hook!r}, but TrainState does not build hooks; give objects: EMAHook(...)."
        )
    name = type(hook).__name__
    for method in (one for one in dir(hook) if not one.startswith("_") and one not in Hook.stages):
        meant = [point for point in Hook.stages if edit_distance(method, point) <= 2]
        if meant and callable(getattr(hook, method)):
            raise TypeError(f"TrainState: {name}.{method} is almost the name of a point. Did you mean {meant[0]!r}?")
    if not any(_lives(hook, point) for point in Hook.stages):
        raise TypeError(f"TrainState: {name} has no method named after a point (after_train_iter(self, runner), ...).")


def _fit(hook: object, point: str) -> Callable[..., object]:
    """Return the hook's method; where it takes only some of the point's keywords, one that leaves the others out."""
    method: Callable[..., object] = getattr(hook, point)
    keywords = KEYWORDS.get(point, ())
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = {parameter.name for parameter in parameters}
    taken = [name for name in keywords if name in names]
    try:
        inspect.signature(method).bind("runner", **dict.fromkeys(taken))
    except TypeError as error:
        wanted = ", ".join(["self", "runner", *keywords])
        raise TypeError(
            f"TrainState: {type(hook).__name__}.{point} cannot be called ({error}); its arguments may be "
            f"({wanted}), or some of these."
        ) from error
    if any(p.kind is p.VAR_KEYWORD for p in parameters) or len(taken) == len(keywords):
        return method
    return lambda runner, **keywords: method(runner, **{name: keywords[name] for name in taken})


class OptimizerView:
    """What hooks ask of an optimizer: its rates and groups, and the last gradient norm."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.grad_norm: object = None

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of the optimizer."""
        return self.optimizer.param_groups

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the optimizer's state."""
        self.optimizer.load_state_dict(state_dict)

    def get_lr(self) -> dict[str, list[float]]:
        """Return `{'lr': [one per group]}`."""
        return {"lr": [group["lr"] for group in self.optimizer.param_groups]}
