"""Writing a config: as Python that loads back equal, as JSON, YAML or TOML."""

from __future__ import annotations

import keyword
import math
from collections.abc import Collection
from typing import Any

from seg_registry.errors import ConfigTypeError
from seg_registry.values.marked_dict import DottedName

__all__ = ["dotted_name", "to_python"]

_WIDTH = 100
_USED = frozenset({"dict", "float", "set", "range", "globals", "frozenset", "_base_", "_deprecation_"})


def to_python(table: dict[Any, Any]) -> str:
    """Return a config as Python: one assignment per top-level key, in the order of the config.

    Keys that cannot be a name of an assignment go into one `globals().update(...)` at the end.

    >>> print(to_python({"lr": 0.1, "model": {"type": "UNet", "size": (64, 64)}}))
    lr = 0.1
    model = dict(type='UNet', size=(64, 64))
    <BLANKLINE>
    """
    lines, rest = [], {}
    for key, value in table.items():
        if _is_name(key) and not key.startswith("__") and key not in _USED:
            lines.append(f"{key} = {_text(value, key, '', len(key) + 3)}")
        else:
            rest[key] = value
    if rest:
        lines.append(f"globals().update({_display(rest, '', '', 17)})")
    return "\n".join(lines) + "\n" if lines else ""


def _is_name(key: object) -> bool:
    return type(key) is str and key.isidentifier() and key.isascii() and not keyword.iskeyword(key)


def _text(value: object, path: str, indent: str, column: int) -> str:
    if isinstance(value, dict):
        return _table(value, path, indent, column)
    if isinstance(value, list | tuple | set | frozenset):
        return _sequence(value, path, indent, column)
    return _scalar(value, path)


def _table(value: dict[Any, Any], path: str, indent: str, column: int) -> str:
    if not all(_is_name(key) for key in value):
        return _display(value, path, indent, column)
    inner = indent + "    "
    parts = [f"{key}={_text(each, f'{path}.{key}', inner, len(inner) + len(key) + 2)}" for key, each in value.items()]
    return _fit("dict(", parts, ")", indent, column)


def _display(value: dict[Any, Any], path: str, indent: str, column: int) -> str:
    inner = indent + "    "
    parts = []
    for key, each in value.items():
        shown = _text(key, f"{path} (a key)", inner, len(inner))
        parts.append(f"{shown}: {_text(each, f'{path}.{key}', inner, len(inner) + len(shown) + 3)}")
    return _fit("{", parts, "}", indent, column)


def _sequence(value: Collection[object], path: str, indent: str, column: int) -> str:
    inner = indent + "    "
    items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
    parts = [_text(each, f"{path}.{i}", inner, len(inner) + 1) for i, each in enumerate(items)]
    if isinstance(value, frozenset):
        raise ConfigTypeError(f"a frozenset at '{path}' cannot be written; use a set or a tuple")
    if isinstance(value, set):
        return _fit("{", parts, "}", indent, column) if parts else "set()"
    if isinstance(value, list):
        return _fit("[", parts, "]", indent, column)
    return f"({parts[0]},)" if len(parts) == 1 else _fit("(", parts, ")", indent, column)


def _fit(start: str, parts: list[str], end: str, indent: str, column: int) -> str:
    """Join the parts: on one line where they fit, else one part per line."""
    length = column + len(start) + sum(map(len, parts)) + 2 * len(parts)
    if length <= _WIDTH and not any("\n" in part for part in parts):
        return start + ", ".join(parts) + end
    inner = indent + "    "
    return f"{start}\n" + "".join(f"{inner}{part},\n" for part in parts) + indent + end


def _scalar(value: object, path: str) -> str:
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return _string(str(value))
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else f"float('{float(value)}')"
    if isinstance(value, int | bytes | range):
        return _whole(int(value)) if isinstance(value, int) else repr(value)
    if isinstance(value, complex) and math.isfinite(value.real) and math.isfinite(value.imag):
        return _complex(value)
    return _string(dotted_name(value, path))


def _whole(value: int) -> str:
    """Return decimal digits, or hexadecimal ones where Python refuses to print so many decimal digits."""
    return repr(value) if value.bit_length() <= 10_000 else hex(value)


def _complex(value: complex) -> str:
    sign = "-" if math.copysign(1.0, value.imag) < 0 else "+"
    return f"({value.real!r} {sign} {abs(value.imag)!r}j)"


def _string(value: str) -> str:
    """Return the `repr`, with every `{{` cut in two, so that a text which looks like a template is taken for none."""
    shown = repr(value)
    if "{{" not in shown:
        return shown
    cut = f"{shown[0]} {shown[0]}"
    while "{{" in shown:
        shown = shown.replace("{{", f"{{{cut}{{")
    return shown


def dotted_name(value: object, path: str = "") -> str:
    """Return a class or function as the dotted name that a config can give as `type`."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(value, DottedName):
        return str(value)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        raise ConfigTypeError(f"{type(value).__name__} {value!r} at '{path}' cannot be written into a config")
    return f"{module}.{name}"
