"""What all handlers of the evaluator share: the table, the refusal, and reading out of config values."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from seg_registry.errors import UnsafeConfigError
from seg_registry.values.config_dict import ConfigDict
from seg_registry.values.draft import Dotted, Draft

if TYPE_CHECKING:
    from seg_registry.evaluator.evaluator import Evaluator

__all__ = [
    "CONTAINERS",
    "HANDLERS",
    "Handler",
    "described",
    "kind_name",
    "live",
    "read_attribute",
    "read_item",
    "refuse",
]

Handler = Callable[["Evaluator", Any], Any]
CONTAINERS = frozenset({list, tuple, dict, Draft, ConfigDict, set})


class _Handlers(dict[type[ast.AST], Handler]):
    """Node class -> handler; a class without one is a construct that is not evaluated."""

    def __missing__(self, kind: type[ast.AST]) -> Handler:
        def refused(ev: Evaluator, node: Any) -> Any:
            raise refuse(described(kind))

        return refused


HANDLERS = _Handlers()
_WORDS = {
    "AsyncFunctionDef": "async def",
    "ClassDef": "class",
    "FunctionDef": "def",
    "GeneratorExp": "a generator outside a call",
    "Lambda": "lambda",
    "NamedExpr": ":=",
}


def described(kind: type[ast.AST]) -> str:
    """A node class in the words of somebody who writes Python."""
    word = _WORDS.get(kind.__name__, kind.__name__.lower())
    return f"the {'statement' if issubclass(kind, ast.stmt) else 'expression'} '{word}'"


def kind_name(value: Any) -> str:
    """The type of a value as users know it."""
    return "dict" if isinstance(value, dict) else type(value).__name__


def refuse(what: str) -> UnsafeConfigError:
    """The error for a construct that is not evaluated."""
    return UnsafeConfigError(
        f"{what} is not evaluated: a config is data, and loading it runs nothing. If you trust this file: "
        "Config.fromfile(path, trusted=True), or --trust-config on the command line"
    )


def live(ev: Evaluator, node: ast.expr) -> Any:
    """The object itself that an expression means, so that a change of it is a change of the base it lies in."""
    if isinstance(node, ast.Attribute):
        return read_attribute(live(ev, node.value), node.attr)
    if isinstance(node, ast.Subscript):
        return read_item(live(ev, node.value), ev.eval(node.slice))
    if isinstance(node, ast.Name) and node.id == "_base_":
        return ev.missing_name(node.id)  # a part of it is paid for, not the whole
    return ev.eval(node)


def read_attribute(value: Any, name: str) -> Any:
    """`value.name`, where the value is a dict or the dotted name of an import."""
    if name.startswith("__"):
        raise refuse(f"the attribute {name}")
    if isinstance(value, ConfigDict | Draft):
        if name not in value:
            ConfigDict.__missing__(ConfigDict(dict.fromkeys(value)), name)
        return value[name]
    if type(value) is Dotted:
        return Dotted(f"{value}.{name}")
    raise refuse(f"the attribute {name!r} of {type(value).__name__}")


def read_item(value: Any, key: Any) -> Any:
    """`value[key]`, where the value is a plain container."""
    if not isinstance(value, str | bytes | list | tuple | dict | range) or type(value) is Dotted:
        raise TypeError(f"{type(value).__name__} has no items")
    if type(value) is Draft and key not in value:
        ConfigDict.__missing__(ConfigDict(dict.fromkeys(value)), key)
    return value[key]
