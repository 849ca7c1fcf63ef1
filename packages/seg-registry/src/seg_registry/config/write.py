"""Config text by suffix: Python, JSON, YAML, TOML."""

from __future__ import annotations

from typing import Any

from seg_registry.config.write_python import dotted_name, to_python
from seg_registry.errors import ConfigError, ConfigTypeError
from seg_registry.values.config_dict import to_builtins

__all__ = ["to_text"]


def to_text(table: dict[Any, Any], suffix: str) -> str:
    """Return a config in the format of a suffix; JSON and TOML have no tuples and no sets, they become lists."""
    if suffix == ".json":
        import json

        try:
            return json.dumps(to_builtins(table), indent=2, ensure_ascii=False, default=_fallback) + "\n"
        except (TypeError, ValueError) as error:  # such as a tuple as a key
            raise ConfigTypeError(f"cannot be written as JSON: {error}") from error
    if suffix in (".yaml", ".yml"):
        return _yaml_text(table)
    if suffix == ".toml":
        from seg_registry.config.write_toml import to_toml

        return to_toml(to_builtins(table))
    if suffix not in (".py", ""):
        raise ConfigError(f"a config can be written as .py, .json, .yaml, .yml or .toml, not as {suffix}")
    return to_python(table)


def _fallback(value: object) -> Any:
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else dotted_name(value)


def _yaml_text(table: dict[Any, Any]) -> str:
    from seg_registry.config.parse_data import yaml_module

    yaml = yaml_module()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined]
        def ignore_aliases(self, data: object) -> bool:
            return True

    Dumper.add_representer(
        tuple, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:python/tuple", list(value))
    )
    Dumper.add_multi_representer(object, lambda dumper, value: dumper.represent_str(dotted_name(value)))
    return str(yaml.dump(to_builtins(table), Dumper=Dumper, sort_keys=False, allow_unicode=True))
