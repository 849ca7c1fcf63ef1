"""Inherited, overridable configs that are data, and registries that explain a miss. Runs no config code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seg_registry.__about__ import __version__
from seg_registry.config import Config
from seg_registry.config_dict import ConfigDict
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
from seg_registry.origins import Mark, Origin

if TYPE_CHECKING:
    from seg_registry.action import DictAction
    from seg_registry.build import Builder, builder
    from seg_registry.option_values import parse_options
    from seg_registry.registry import Location, Registry

__all__ = [
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
    "Builder": "seg_registry.build",
    "DictAction": "seg_registry.action",
    "Location": "seg_registry.registry",
    "Registry": "seg_registry.registry",
    "builder": "seg_registry.build",
    "parse_options": "seg_registry.option_values",
}


def __getattr__(name: str) -> Any:
    """Names whose modules are imported when first asked for: not every program needs them."""
    if name not in _LATER:
        raise AttributeError(f"module 'seg_registry' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
