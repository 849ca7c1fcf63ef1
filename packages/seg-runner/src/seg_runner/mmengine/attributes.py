"""Names that code written for MMEngine reads off a runner and its loops, besides those that ours have anyway.

One table for the runner, one for each kind of loop: the name, and what it gives. A name of the runner that nothing can
serve is an AttributeError that says what to use instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NoReturn

__all__ = ["EVAL_LOOP", "EVAL_LOOP_INSTEAD", "INSTEAD", "RUNNER", "TRAIN_LOOP", "FixedList", "give_hub", "serves"]

Reads = Callable[[Any], Any]


class FixedList(list[Any]):
    """A list that is read; whoever changes it is told that nothing would come of it."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            "this list is a copy of the hooks: leave one out by default_hooks=dict(name=None) or by custom_hooks; add "
            "one by runner.register_hook(hook)"
        )

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse


def _of_loop(name: str, otherwise: Any) -> Reads:
    return lambda runner: getattr(runner.train_loop, name, otherwise)


def _argument(name: str) -> Reads:
    return lambda runner: runner.arguments[name]


def _part(mode: str, kind: str) -> Reads:
    """Give a loader or evaluator as it is built, or its config before that."""

    def read(holder: Any) -> Any:
        loop = getattr(holder, f"{mode}_loop")
        return getattr(loop, kind) if loop is not None else holder.arguments[f"{mode}_{kind}"]

    return read


def _loop(mode: str) -> Reads:
    """Give a loop as it is built, or its config before that."""

    def read(holder: Any) -> Any:
        built = getattr(holder, f"{mode}_loop")
        return holder.arguments[f"{mode}_cfg"] if built is None else built

    return read


def _has_loaded(holder: Any) -> bool:
    return holder.resumed or (holder.checkpoints.loaded and holder.arguments["load_from"] is not None)


def _model_name(holder: Any) -> str:
    return type(getattr(holder.model, "module", holder.model)).__name__


def _scope(holder: Any) -> SimpleNamespace:
    name = holder.arguments["default_scope"] or "mmengine"
    return SimpleNamespace(scope_name=name, instance_name=holder.experiment_name)


RUNNER: dict[str, Reads] = {
    "_deterministic": lambda runner: runner.deterministic,
    "_distributed": lambda runner: runner.distributed,
    "_experiment_name": lambda runner: runner.experiment_name,
    "_has_loaded": _has_loaded,
    "_hooks": lambda runner: runner.hooks,
    "_launcher": _argument("launcher"),
    "_load_from": _argument("load_from"),
    "_log_dir": lambda runner: runner.log_dir,
    "_model_name": _model_name,
    "_randomness_cfg": lambda runner: runner.arguments["randomness"] or {"seed": None},
    "_rank": lambda runner: runner.rank,
    "_resume": _argument("resume"),
    "_seed": lambda runner: runner.seed,
    "_test_dataloader": _part("test", "dataloader"),
    "_test_evaluator": _part("test", "evaluator"),
    "_test_loop": _loop("test"),
    "_timestamp": lambda runner: runner.timestamp,
    "_train_dataloader": lambda runner: runner.loaders["train"] or runner.arguments["train_dataloader"],
    "_train_loop": _loop("train"),
    "_val_dataloader": _part("val", "dataloader"),
    "_val_evaluator": _part("val", "evaluator"),
    "_val_loop": _loop("val"),
    "_work_dir": lambda runner: runner.work_dir,
    "_world_size": lambda runner: runner.world_size,
    "auto_scale_lr": _argument("auto_scale_lr"),
    "build_logger": lambda runner: lambda *_, **__: runner.logger,
    "default_scope": _scope,
    "dump_config": lambda runner: lambda: runner._record("train"),
    "launcher": _argument("launcher"),
    "model_name": _model_name,
    "test_evaluator": _part("test", "evaluator"),
    "val_begin": _of_loop("val_begin", 1),
    "val_evaluator": _part("val", "evaluator"),
    "val_interval": _of_loop("val_interval", None),
}
"""Attributes of a runner: name -> what it gives."""

INSTEAD: dict[str, str] = {
    "_build_param_scheduler": "build_param_scheduler(scheduler)",
    "_check_scheduler_cfg": "build_param_scheduler(scheduler), which checks it",
    "_init_model_weights": "super().train(), which calls the model's init_weights",
    "_log_env": "runner.log_dir / 'run.json', which has the versions",
    "_maybe_compile": "compile=True in the config",
    "set_randomness": "randomness=dict(seed=...) in the config",
    "setup_env": "env_cfg=dict(...) in the config",
}
"""Names of MMEngine's runner that nothing here stands for: name -> what to use."""

TRAIN_LOOP: dict[str, Reads | str] = {
    "_epoch": lambda loop: loop.epoch,
    "_iter": lambda loop: loop.iter,
    "_max_epochs": "max_epochs",
    "_max_iters": "max_iters",
    "_runner": lambda loop: loop.runner,
    "dataloader_iterator": lambda loop: loop.batches,
    "dynamic_intervals": lambda loop: loop._intervals,
    "dynamic_milestones": lambda loop: [0, *loop._milestones],
}
"""Attributes of a training loop; where the value is a name, that attribute is read and set."""

EVAL_LOOP: dict[str, Reads] = {"_runner": lambda loop: loop.runner}
"""Attributes of a validation or test loop."""

EVAL_LOOP_INSTEAD = {
    "test_loss": "test_cfg=dict(loss=True), which puts test_loss among the metrics",
    "val_loss": "val_cfg=dict(loss=True), which puts val_loss among the metrics",
}
"""Names of MMEngine's loops of validation and test that nothing here stands for: name -> what to use."""


Decorator = Callable[[type[Any]], type[Any]]


def serves(names: Mapping[str, Reads | str], instead: Mapping[str, str] | None = None) -> Decorator:
    """Return a decorator that gives a class these names; what it has itself stays."""

    def give(kind: type[Any]) -> type[Any]:
        for name, read in names.items():
            if not hasattr(kind, name):
                setattr(kind, name, _alias(read) if isinstance(read, str) else property(read, _refuses(name)))
        for name, advice in (instead or {}).items():
            setattr(kind, name, property(_missing(name, advice)))
        return kind

    return give


def _alias(name: str) -> property:
    return property(lambda holder: getattr(holder, name), lambda holder, value: setattr(holder, name, value))


def _refuses(name: str) -> Callable[[Any, Any], None]:
    def refuse(holder: Any, value: object) -> NoReturn:
        raise AttributeError(
            f"{name} of {type(holder).__name__} is read-only: what MMEngine keeps there is decided by the config here"
        )

    return refuse


def _missing(name: str, advice: str) -> Reads:
    def miss(holder: Any) -> NoReturn:
        raise AttributeError(f"{type(holder).__name__} has no {name!r}: use {advice}")

    return miss


def give_hub(wrapper: Any, hub: object) -> None:
    """Give an optimizer wrapper, or each of several, the message hub, as MMEngine's have it."""
    values = getattr(wrapper, "values", None)
    each: Iterable[Any] = values() if callable(values) else [wrapper]
    for one in each:
        if one is not None:
            one.message_hub = hub
