"""Writing TOML: tables as headers, lists of tables inline; None has no place in TOML."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from seg_registry.config.write_python import dotted_name
from seg_registry.errors import ConfigTypeError

__all__ = ["to_toml"]


def to_toml(table: dict[Any, Any]) -> str:
    """Return plain values as TOML.

    >>> print(to_toml({"lr": 0.1, "model": {"type": "UNet"}}), end="")
    lr = 0.1
    [model]
    type = "UNet"
    """
    return "\n".join(_lines(table, "")) + "\n"


def _lines(table: dict[Any, Any], path: str) -> list[str]:
    lines = [f"{_key(key)} = {_value(each, f'{path}.{key}')}" for key, each in table.items() if not _nested(each)]
    for key, each in table.items():
        if _nested(each):
            here = f"{path}.{_key(key)}" if path else _key(key)
            lines += [f"[{here}]", *_lines(each, here)]
    return lines


def _nested(value: object) -> bool:
    return isinstance(value, dict)


def _key(key: object) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text)


def _value(value: object, path: str) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(each, path)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        items = value if isinstance(value, list | tuple) else sorted(value, key=repr)
        return "[" + ", ".join(_value(each, path) for each in items) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if value is None:
        raise ConfigTypeError(f"None at '{path.lstrip('.')}' cannot be written as TOML; use .py, .json or .yaml")
    return json.dumps(value if isinstance(value, str) else dotted_name(value), ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )
