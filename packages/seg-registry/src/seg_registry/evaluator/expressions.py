"""Expressions of a Python config, evaluated over the syntax tree: one handler per node class, nothing executed."""

from __future__ import annotations

import ast
from typing import Any

from seg_registry.errors import ConfigSyntaxError
from seg_registry.evaluator.calls import BUILTINS, FUNCTIONS, METHODS, MUTATING, check_spec, to_list, to_str
from seg_registry.evaluator.evaluator import (
    CONTAINERS,
    HANDLERS,
    Evaluator,
    eval_holder,
    kind_name,
    read_attribute,
    read_item,
    refuse,
)
from seg_registry.evaluator.operators import UNARY, binary, compare
from seg_registry.evaluator.targets import dict_comprehension, list_comprehension, set_comprehension
from seg_registry.values.marked_dict import DottedName, MarkedDict

__all__: list[str] = []

_ABSENT: Any = object()


def _constant(ev: Evaluator, node: ast.Constant) -> Any:
    value = node.value
    if ev.placeholders and type(value) is str:
        return ev.filled(value)
    return value


def _name(ev: Evaluator, node: ast.Name) -> Any:
    value = ev.names.get(node.id, _ABSENT)
    return _paid(ev, ev.missing_name(node.id) if value is _ABSENT else value)


def _items(ev: Evaluator, nodes: list[ast.expr]) -> list[Any]:
    values: list[Any] = []
    for node in nodes:
        if node.__class__ is ast.Constant and not ev.placeholders:
            values.append(node.value)
        elif node.__class__ is ast.Starred:
            values.extend(to_list(ev.eval(node.value), ev.budget))
        else:
            values.append(HANDLERS[node.__class__](ev, node))
    return values


def _set_display(ev: Evaluator, node: ast.Set) -> set[Any]:
    ev.budget.spend_on_keys(len(node.elts))
    return set(_items(ev, node.elts))


def _dict_display(ev: Evaluator, node: ast.Dict) -> MarkedDict:
    result = MarkedDict(file=ev.file)
    marks: dict[Any, Any] = {}
    ev.budget.spend_on_keys(len(node.keys))
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        if key_node is None:
            _unpack(ev, result, marks, value_node)
            continue
        key = ev.eval(key_node)
        result[key] = HANDLERS[value_node.__class__](ev, value_node)
        marks[key] = ev.mark(value_node)
    if ev.origins:
        result._marks_ = marks
    return result


def _unpack(ev: Evaluator, result: MarkedDict, marks: dict[Any, Any], node: ast.expr) -> None:
    other = ev.eval(node)
    if not isinstance(other, dict):
        raise TypeError(f"** needs a dict, got {type(other).__name__}")
    ev.budget.spend_on(other)
    result.update(other)
    marks.update({key: ev.mark_of_item(other, key, node) for key in other})


def _call(ev: Evaluator, node: ast.Call) -> Any:
    function = node.func
    if function.__class__ is ast.Name:
        name: str = function.id
        if name == "dict" and not node.args and "dict" not in ev.names:
            return _dict_call(ev, node)
        if name in BUILTINS and name not in ev.names:
            return _builtin(ev, node, name)
        if ev.imported.get(name) in FUNCTIONS:
            return _imported(ev, node, ev.imported[name])
        raise refuse(f"the call of {name}()")
    if function.__class__ is ast.Attribute:
        return _method(ev, node, function)
    raise refuse("a call of anything but a known function or method")


def _dict_call(ev: Evaluator, node: ast.Call) -> MarkedDict:
    """Evaluate `dict(key=value, ...)`: what configs are made of, hence the shortest way."""
    result = MarkedDict(file=ev.file)
    marks: dict[Any, Any] = {}
    plain_strings = not ev.placeholders
    for keyword in node.keywords:
        key = keyword.arg
        value = keyword.value
        kind = value.__class__
        if key is None:
            _unpack(ev, result, marks, value)
            continue
        if key in result:
            raise ConfigSyntaxError(f"keyword argument repeated: {key}", file=ev.file, line=value.lineno)
        if kind is ast.Constant and plain_strings:
            result[key] = value.value  # type: ignore[attr-defined]
            marks[key] = value.lineno
        else:
            result[key] = HANDLERS[kind](ev, value)
            marks[key] = ev.mark(value) if kind is ast.Name else value.lineno
    if ev.origins:
        result._marks_ = marks
    return result


def _arguments(ev: Evaluator, node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    nodes = node.args
    if len(nodes) == 1 and isinstance(nodes[0], ast.GeneratorExp):
        return [list_comprehension(ev, nodes[0])], _keywords(ev, node)
    return _items(ev, nodes), _keywords(ev, node)


def _keywords(ev: Evaluator, node: ast.Call) -> dict[str, Any]:
    if not node.keywords:
        return {}
    return _dict_call(ev, ast.Call(func=node.func, args=[], keywords=node.keywords))


def _builtin(ev: Evaluator, node: ast.Call, name: str) -> Any:
    args, kwargs = _arguments(ev, node)
    value = BUILTINS[name](ev.budget, *args, **kwargs)
    if type(value) is MarkedDict:
        value._file_ = ev.file
        value._marks_ = dict.fromkeys(value, node.lineno)
        source = args[0] if args and isinstance(args[0], dict) else {}
        value._marks_ |= {key: ev.mark_of_item(source, key, node) for key in source}
        value._marks_ |= {keyword.arg: keyword.value.lineno for keyword in node.keywords if keyword.arg}
    return value


def _imported(ev: Evaluator, node: ast.Call, name: str) -> Any:
    if name not in FUNCTIONS:
        raise refuse(f"the call of {name}()")
    args, kwargs = _arguments(ev, node)
    return FUNCTIONS[name](ev.budget, *args, **kwargs)


def _method(ev: Evaluator, node: ast.Call, function: ast.Attribute) -> Any:
    name = function.attr
    target = eval_holder(ev, function.value) if name in MUTATING else ev.eval(function.value)
    if isinstance(target, DottedName):
        return _imported(ev, node, f"{target}.{name}")
    method = METHODS.get(type(target), {}).get(name)
    if method is None:
        raise refuse(f"the method {name}() of {kind_name(target)}")
    args, kwargs = _arguments(ev, node)
    value = method(ev.budget, target, *args, **kwargs)
    if name in MUTATING and name != "pop":
        ev.changed(target, node, args, kwargs)
    return value


def _binary(ev: Evaluator, node: ast.BinOp) -> Any:
    return binary(type(node.op), ev.eval(node.left), ev.eval(node.right), ev.budget)


def _unary(ev: Evaluator, node: ast.UnaryOp) -> Any:
    value = ev.eval(node.operand)
    if type(value) is int:
        ev.budget.spend(value.bit_length() >> 8)
    return UNARY[type(node.op)](value)


def _bool(ev: Evaluator, node: ast.BoolOp) -> Any:
    stop_at = isinstance(node.op, ast.Or)
    value: Any = None
    for each in node.values:
        value = ev.eval(each)
        if bool(value) is stop_at:
            return value
    return value


def _compare(ev: Evaluator, node: ast.Compare) -> Any:
    left = ev.eval(node.left)
    result: Any = True
    for kind, right_node in zip(node.ops, node.comparators, strict=True):
        right = ev.eval(right_node)
        result = compare(type(kind), left, right, ev.budget)
        if not result:
            return result
        left = right
    return result


def _if(ev: Evaluator, node: ast.IfExp) -> Any:
    return ev.eval(node.body if ev.eval(node.test) else node.orelse)


def _attribute(ev: Evaluator, node: ast.Attribute) -> Any:
    return _paid(ev, read_attribute(eval_holder(ev, node.value), node.attr))


def _subscript(ev: Evaluator, node: ast.Subscript) -> Any:
    return _paid(ev, read_item(eval_holder(ev, node.value), ev.eval(node.slice)))


def _paid(ev: Evaluator, value: object) -> Any:
    """Return what was read, no copy of it: as in Python, a change through one name is seen through the others."""
    if type(value) in CONTAINERS or type(value) in (str, bytes):
        ev.budget.spend_on(value)
    return value


def _slice(ev: Evaluator, node: ast.Slice) -> slice:
    parts = (node.lower, node.upper, node.step)
    return slice(*[None if part is None else ev.eval(part) for part in parts])


def _f_string(ev: Evaluator, node: ast.JoinedStr) -> str:
    parts = [ev.eval(each) for each in node.values]
    ev.budget.spend_on_text(sum(map(len, parts)))
    return "".join(parts)


def _formatted(ev: Evaluator, node: ast.FormattedValue) -> str:
    value = ev.eval(node.value)
    spec = ev.eval(node.format_spec) if node.format_spec is not None else ""
    check_spec(spec)
    shown = to_str(value, ev.budget)
    if node.conversion in (ord("r"), ord("a")):
        value = repr(value) if node.conversion == ord("r") else ascii(value)
    elif node.conversion == ord("s"):
        value = shown
    return format(value, spec)


HANDLERS.update(
    {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Tuple: lambda ev, node: tuple(_items(ev, node.elts)),
        ast.List: lambda ev, node: _items(ev, node.elts),
        ast.Set: _set_display,
        ast.Dict: _dict_display,
        ast.Call: _call,
        ast.BinOp: _binary,
        ast.UnaryOp: _unary,
        ast.BoolOp: _bool,
        ast.Compare: _compare,
        ast.IfExp: _if,
        ast.Attribute: _attribute,
        ast.Subscript: _subscript,
        ast.Slice: _slice,
        ast.JoinedStr: _f_string,
        ast.FormattedValue: _formatted,
        ast.ListComp: list_comprehension,
        ast.SetComp: set_comprehension,
        ast.DictComp: dict_comprehension,
    }
)
