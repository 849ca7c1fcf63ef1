"""The named registries as one table: MMEngine's name, our kind, the entry-point group."""

from __future__ import annotations

from typing import NamedTuple

from seg_registry.registry.registry import Registry
from seg_registry.suggest import did_you_mean

__all__ = [
    "DATASETS",
    "DATA_SAMPLERS",
    "EVALUATOR",
    "FUNCTIONS",
    "HOOKS",
    "INFERENCERS",
    "KINDS",
    "LOG_PROCESSORS",
    "LOOPS",
    "METRICS",
    "MODELS",
    "MODEL_WRAPPERS",
    "OPTIMIZERS",
    "OPTIM_WRAPPERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "PARAM_SCHEDULERS",
    "RUNNERS",
    "RUNNER_CONSTRUCTORS",
    "STRATEGIES",
    "TASK_UTILS",
    "TRANSFORMS",
    "VISBACKENDS",
    "VISUALIZERS",
    "WEIGHT_INITIALIZERS",
    "Kind",
    "kind_of",
]


class Kind(NamedTuple):
    """One kind of part; with a scope, that scope's registry is asked first where `scope_first` says so."""

    name: str
    attribute: str
    group: str
    registry: Registry
    scope_first: bool = False


def _kind(name: str, attribute: str, plural: str = "", *, scope_first: bool = False) -> Kind:
    group = f"seg_engine.{plural or name + 's'}"
    return Kind(name, attribute, group, Registry(name, group=group), scope_first)


_TABLE = (
    _kind("runner", "RUNNERS"),
    _kind("runner_constructor", "RUNNER_CONSTRUCTORS"),
    _kind("loop", "LOOPS"),
    _kind("hook", "HOOKS"),
    _kind("strategy", "STRATEGIES", "strategies"),
    _kind("dataset", "DATASETS", scope_first=True),
    _kind("data_sampler", "DATA_SAMPLERS"),
    _kind("transform", "TRANSFORMS", scope_first=True),
    _kind("model", "MODELS", scope_first=True),
    _kind("model_wrapper", "MODEL_WRAPPERS"),
    _kind("weight_initializer", "WEIGHT_INITIALIZERS"),
    _kind("optimizer", "OPTIMIZERS"),
    _kind("optim_wrapper", "OPTIM_WRAPPERS"),
    _kind("optim_wrapper_constructor", "OPTIM_WRAPPER_CONSTRUCTORS"),
    _kind("param_scheduler", "PARAM_SCHEDULERS"),
    _kind("metric", "METRICS", scope_first=True),
    _kind("evaluator", "EVALUATOR"),
    _kind("task_util", "TASK_UTILS", scope_first=True),
    _kind("visualizer", "VISUALIZERS"),
    _kind("vis_backend", "VISBACKENDS"),
    _kind("log_processor", "LOG_PROCESSORS"),
    _kind("inferencer", "INFERENCERS"),
    _kind("function", "FUNCTIONS"),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}
RUNNERS = KINDS["runner"].registry
RUNNER_CONSTRUCTORS = KINDS["runner_constructor"].registry
LOOPS = KINDS["loop"].registry
HOOKS = KINDS["hook"].registry
STRATEGIES = KINDS["strategy"].registry
DATASETS = KINDS["dataset"].registry
DATA_SAMPLERS = KINDS["data_sampler"].registry
TRANSFORMS = KINDS["transform"].registry
MODELS = KINDS["model"].registry
MODEL_WRAPPERS = KINDS["model_wrapper"].registry
WEIGHT_INITIALIZERS = KINDS["weight_initializer"].registry
OPTIMIZERS = KINDS["optimizer"].registry
OPTIM_WRAPPERS = KINDS["optim_wrapper"].registry
OPTIM_WRAPPER_CONSTRUCTORS = KINDS["optim_wrapper_constructor"].registry
PARAM_SCHEDULERS = KINDS["param_scheduler"].registry
METRICS = KINDS["metric"].registry
EVALUATOR = KINDS["evaluator"].registry
TASK_UTILS = KINDS["task_util"].registry
VISUALIZERS = KINDS["visualizer"].registry
VISBACKENDS = KINDS["vis_backend"].registry
LOG_PROCESSORS = KINDS["log_processor"].registry
INFERENCERS = KINDS["inferencer"].registry
FUNCTIONS = KINDS["function"].registry


def kind_of(name: str) -> Kind:
    """Return the row of one kind; an unknown one is a KeyError that names the nearest."""
    if name not in KINDS:
        raise KeyError(f"no kind {name!r}; {did_you_mean(name, KINDS)}")
    return KINDS[name]
