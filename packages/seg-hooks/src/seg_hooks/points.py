"""The points of a list of hooks, collected once: what TrainState calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from seg_hooks.hook import Hook, priority_number
from seg_hooks.options import near

__all__ = ["Points", "in_order"]

KEYWORDS = {
    "before_train_iter": ("batch_idx", "data_batch"),
    "after_train_iter": ("batch_idx", "data_batch", "outputs"),
    "after_val_epoch": ("metrics",),
    "after_test_epoch": ("metrics",),
    "before_save_checkpoint": ("checkpoint",),
    "after_load_checkpoint": ("checkpoint",),
}


def in_order(hooks: Iterable[Any]) -> list[Any]:
    """The hooks by priority, in the given order where it is equal."""
    return sorted(hooks, key=lambda hook: priority_number(getattr(hook, "priority", "NORMAL")))


class Points:
    """For each point the bound methods of the hooks that do something there, in order."""

    def __init__(self, hooks: Iterable[Any]) -> None:
        hooks = list(hooks)
        for hook in hooks:
            _check(hook)
        self.table = {point: [_fit(hook, point) for hook in hooks if _lives(hook, point)] for point in Hook.stages}

    def fire(self, point: str, runner: Any, **keywords: Any) -> None:
        """Run one point."""
        for call in self.table[point]:
            call(runner, **keywords)


def _lives(hook: Any, point: str) -> bool:
    stages = getattr(hook, "get_triggered_stages", None)
    if callable(stages):
        return point in stages()
    method = getattr(hook, point, None)
    return callable(method) and not getattr(method, "__noop_point__", False)


def _check(hook: Any) -> None:
    if isinstance(hook, type):
        raise TypeError(f"hooks holds the class {hook.__name__}; give an object: {hook.__name__}(...).")
    if not any(_lives(hook, point) for point in Hook.stages):
        methods = [name for name in dir(hook) if not name.startswith("_")]
        hints = [near(name, Hook.stages) for name in methods if near(name, Hook.stages)]
        raise TypeError(f"{type(hook).__name__} has no method named after a point.{hints[0] if hints else ''}")


def _fit(hook: Any, point: str) -> Callable[..., Any]:
    """The hook's method; where it takes only some of the point's keywords, a function that leaves the others out."""
    method: Callable[..., Any] = getattr(hook, point)
    parameters = inspect.signature(method).parameters.values()
    names = {parameter.name for parameter in parameters}
    taken = [name for name in KEYWORDS.get(point, ()) if name in names]
    if any(p.kind is p.VAR_KEYWORD for p in parameters) or len(taken) == len(KEYWORDS.get(point, ())):
        return method
    return lambda runner, **given: method(runner, **{name: given[name] for name in taken})
