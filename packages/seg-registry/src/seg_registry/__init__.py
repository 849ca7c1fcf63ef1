"""Inherited, overridable configs that are data, and registries that explain a miss. Runs no config code."""

from __future__ import annotations

from seg_registry.__about__ import __version__
from seg_registry.action import DictAction
from seg_registry.build import Builder, builder
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
from seg_registry.option_values import parse_options
from seg_registry.origins import Mark, Origin
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
