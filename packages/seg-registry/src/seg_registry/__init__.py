"""Inherited, overridable configs that are data, and registries that explain a miss. Runs no config code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seg_registry.__about__ import __version__
from seg_registry.config.config import Config
from seg_registry.errors import (
    ConfigError,
    ConfigFileError,
    ConfigKeyError,
    ConfigSyntaxError,
    ConfigTypeError,
    ConfigWarning,
    DuplicateNameError,
    LimitError,
    NotAllowedError,
    OverrideError,
    RegistryError,
    UnsafeConfigError,
)
from seg_registry.values.config_dict import ConfigDict
from seg_registry.values.origins import Mark, Origin

if TYPE_CHECKING:
    from seg_registry.overrides.argparse_action import DictAction
    from seg_registry.overrides.parse_options import parse_options
    from seg_registry.registry.builder import Builder, builder
    from seg_registry.registry.catalog import (
        DATA_SAMPLERS,
        DATASETS,
        EVALUATOR,
        FUNCTIONS,
        HOOKS,
        INFERENCERS,
        LOG_PROCESSORS,
        LOOPS,
        METRICS,
        MODEL_WRAPPERS,
        MODELS,
        OPTIM_WRAPPER_CONSTRUCTORS,
        OPTIM_WRAPPERS,
        OPTIMIZERS,
        PARAM_SCHEDULERS,
        RUNNER_CONSTRUCTORS,
        RUNNERS,
        STRATEGIES,
        TASK_UTILS,
        TRANSFORMS,
        VISBACKENDS,
        VISUALIZERS,
        WEIGHT_INITIALIZERS,
    )
    from seg_registry.registry.registry import Location, Registry

__all__ = [
    "DATASETS",
    "DATA_SAMPLERS",
    "EVALUATOR",
    "FUNCTIONS",
    "HOOKS",
    "INFERENCERS",
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
    "Builder",
    "Config",
    "ConfigDict",
    "ConfigError",
    "ConfigFileError",
    "ConfigKeyError",
    "ConfigSyntaxError",
    "ConfigTypeError",
    "ConfigWarning",
    "DictAction",
    "DuplicateNameError",
    "LimitError",
    "Location",
    "Mark",
    "NotAllowedError",
    "Origin",
    "OverrideError",
    "Registry",
    "RegistryError",
    "UnsafeConfigError",
    "__version__",
    "builder",
    "parse_options",
]

_LATER = {
    "Builder": "seg_registry.registry.builder",
    "DictAction": "seg_registry.overrides.argparse_action",
    "Location": "seg_registry.registry.registry",
    "Registry": "seg_registry.registry.registry",
    "builder": "seg_registry.registry.builder",
    "parse_options": "seg_registry.overrides.parse_options",
}
_LATER |= dict.fromkeys((name for name in __all__ if name.isupper()), "seg_registry.registry.catalog")


def __getattr__(name: str) -> Any:
    """Import a module when its name is first asked for: not every program needs them all."""
    if name not in _LATER:
        raise AttributeError(f"module 'seg_registry' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    """Return all names, those that were not asked for yet, too."""
    return sorted({*globals(), *__all__})
