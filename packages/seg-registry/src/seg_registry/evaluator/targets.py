"""Assignment targets and comprehensions of the evaluator: what binds names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from seg_registry.errors import ConfigSyntaxError
from seg_registry.evaluator.calls import to_list
from seg_registry.evaluator.evaluator import Evaluator, eval_holder, refuse
from seg_registry.values.config_dict import ConfigDict, adopt, mark
from seg_registry.values.marked_dict import Marked, MarkedDict
from seg_registry.values.origins import chain_of

__all__ = ["dict_comprehension", "list_comprehension", "set_comprehension", "store"]

_ABSENT: Any = object()
_Comprehension = ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp


def store(ev: Evaluator, target: ast.expr, value: object) -> None:
    """Bind a value to a target: a name, an item or attribute of a config value, or several of these."""
    if isinstance(target, ast.Name):
        ev.bind(target.id, value)
    elif isinstance(target, ast.Tuple | ast.List):
        _store_several(ev, target.elts, to_list(value, ev.budget))
    elif isinstance(target, ast.Attribute | ast.Subscript):
        holder = eval_holder(ev, target.value)
        key = target.attr if isinstance(target, ast.Attribute) else ev.eval(target.slice)
        _store_item(ev, holder, key, value, target)
    else:
        raise refuse(f"assignment to {type(target).__name__}")


def _store_item(ev: Evaluator, holder: object, key: Any, value: object, target: ast.Attribute | ast.Subscript) -> None:
    if isinstance(holder, Marked):
        if isinstance(target, ast.Attribute) and target.attr.startswith("__"):
            raise refuse(f"the attribute {target.attr}")
    elif not (isinstance(target, ast.Subscript) and isinstance(holder, list)):
        raise TypeError(f"cannot assign into {type(holder).__name__}")
    ev.budget.spend(1 + len(holder) // 25)
    if isinstance(key, slice):
        value = to_list(value, ev.budget)
    if isinstance(holder, ConfigDict):
        value = adopt(value)
    if isinstance(holder, Marked):
        dict.__setitem__(holder, key, value)
    else:
        list.__setitem__(holder, key, value)
    if isinstance(holder, ConfigDict) and ev.origins:
        mark(holder, key, (*chain_of(holder, key), (ev.file, target.lineno)))
    ev.changed(holder, target, [], {key: value} if isinstance(holder, Marked) else {})


def _store_several(ev: Evaluator, targets: list[ast.expr], values: list[Any]) -> None:
    starred = [i for i, each in enumerate(targets) if isinstance(each, ast.Starred)]
    if len(starred) > 1:
        raise ConfigSyntaxError("two starred targets in one assignment", file=ev.file, line=targets[0].lineno)
    if starred:
        i, after = starred[0], len(targets) - starred[0] - 1
        stop = len(values) - after
        if stop >= i:
            values = [*values[:i], values[i:stop], *values[stop:]]
            targets = [each.value if isinstance(each, ast.Starred) else each for each in targets]
    if len(targets) != len(values):
        raise ValueError(f"cannot assign {len(values)} values to {len(targets)} names")
    for target, value in zip(targets, values, strict=True):
        store(ev, target, value)


def _rounds(ev: Evaluator, generators: list[ast.comprehension], cost: int) -> Iterator[None]:
    """Bind the loop variables of a comprehension, once per round."""
    first, rest = generators[0], generators[1:]
    if first.is_async:
        raise refuse("an async comprehension")
    for value in to_list(ev.eval(first.iter), ev.budget):
        ev.budget.spend(cost)
        store(ev, first.target, value)
        if all(ev.eval(test) for test in first.ifs):
            if rest:
                yield from _rounds(ev, rest, cost)
            else:
                yield None


def _comprehension(ev: Evaluator, node: _Comprehension, *parts: ast.expr) -> Iterator[Any]:
    """Return the values of `parts` in each round; loop variables do not leak."""
    targets = [each for part in node.generators for each in ast.walk(part.target) if isinstance(each, ast.Name)]
    hidden = {each.id: (ev.names.get(each.id, _ABSENT), ev.lines.get(each.id)) for each in targets}
    try:
        for _ in _rounds(ev, node.generators, ev.cost(node)):
            yield [ev.eval(part) for part in parts]
    finally:
        for name, (value, line) in hidden.items():
            if value is _ABSENT:
                ev.names.pop(name, None)
            else:
                ev.names[name], ev.lines[name] = value, line


def list_comprehension(ev: Evaluator, node: ast.ListComp | ast.GeneratorExp) -> list[Any]:
    """Return the elements of a list comprehension, or of a generator that is the only argument of a call."""
    return [values[0] for values in _comprehension(ev, node, node.elt)]


def set_comprehension(ev: Evaluator, node: ast.SetComp) -> set[Any]:
    """Return the set that a set comprehension makes."""
    result: set[Any] = set()
    for values in _comprehension(ev, node, node.elt):
        ev.budget.spend(len(result) // 25)
        result.add(values[0])
    return result


def dict_comprehension(ev: Evaluator, node: ast.DictComp) -> MarkedDict:
    """Return the dict that a dict comprehension makes."""
    result = MarkedDict(file=ev.file)
    for key, value in _comprehension(ev, node, node.key, node.value):
        ev.budget.spend(len(result) // 25)
        result[key] = value
    if ev.origins:
        result._marks_ = dict.fromkeys(result, node.value.lineno)
    return result
