"""Assignment targets and comprehensions of the evaluator: what binds names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from seg_registry.errors import ConfigSyntaxError
from seg_registry.evaluator.calls import items_of
from seg_registry.evaluator.evaluator import Evaluator, live, refuse
from seg_registry.values.config_dict import ConfigDict, adopted, mark
from seg_registry.values.draft import Draft
from seg_registry.values.origins import chain_of

__all__ = ["dict_comprehension", "list_of", "set_comprehension", "store"]

_ABSENT: Any = object()


def store(ev: Evaluator, target: ast.expr, value: Any) -> None:
    """Bind a value to a target: a name, an item or attribute of a config value, or several of these."""
    if isinstance(target, ast.Name):
        ev.bind(target.id, value)
    elif isinstance(target, ast.Tuple | ast.List):
        _store_several(ev, target.elts, items_of(value, ev.budget))
    elif isinstance(target, ast.Attribute | ast.Subscript):
        holder = live(ev, target.value)
        key = target.attr if isinstance(target, ast.Attribute) else ev.eval(target.slice)
        _store_item(ev, holder, key, value, target)
    else:
        raise refuse(f"assignment to {type(target).__name__}")


def _store_item(ev: Evaluator, holder: Any, key: Any, value: Any, target: ast.expr) -> None:
    table = isinstance(holder, Draft | ConfigDict)
    if not table and not (isinstance(target, ast.Subscript) and isinstance(holder, list)):
        raise TypeError(f"cannot assign into {type(holder).__name__}")
    if table and isinstance(target, ast.Attribute) and key.startswith("__"):
        raise refuse(f"the attribute {key}")
    ev.budget.spend(1 + len(holder) // 25)
    if isinstance(key, slice):
        value = items_of(value, ev.budget)
    if isinstance(holder, ConfigDict):
        value = adopted(value)
    (dict if table else list).__setitem__(holder, key, value)
    if isinstance(holder, ConfigDict) and ev.origins:
        mark(holder, key, (*chain_of(holder, key), (ev.file, target.lineno)))
    ev.changed(holder, target, [], {key: value} if table else {})


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
        raise ValueError(f"{len(values)} values for {len(targets)} names")
    for target, value in zip(targets, values, strict=True):
        store(ev, target, value)


def _rounds(ev: Evaluator, generators: list[ast.comprehension], cost: int) -> Iterator[None]:
    """Bind the loop variables of a comprehension, once per round."""
    first, rest = generators[0], generators[1:]
    if first.is_async:
        raise refuse("an async comprehension")
    for value in items_of(ev.eval(first.iter), ev.budget):
        ev.budget.spend(cost)
        store(ev, first.target, value)
        if all(ev.eval(test) for test in first.ifs):
            if rest:
                yield from _rounds(ev, rest, cost)
            else:
                yield None


def _comprehension(ev: Evaluator, node: Any, *parts: ast.expr) -> Iterator[Any]:
    """The values of `parts` in each round; loop variables do not leak."""
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


def list_of(ev: Evaluator, node: ast.ListComp | ast.GeneratorExp) -> list[Any]:
    """The elements of a list comprehension, or of a generator that is the only argument of a call."""
    return [values[0] for values in _comprehension(ev, node, node.elt)]


def set_comprehension(ev: Evaluator, node: ast.SetComp) -> set[Any]:
    """The set that a set comprehension makes."""
    result: set[Any] = set()
    for values in _comprehension(ev, node, node.elt):
        ev.budget.spend(len(result) // 25)
        result.add(values[0])
    return result


def dict_comprehension(ev: Evaluator, node: ast.DictComp) -> Draft:
    """The dict that a dict comprehension makes."""
    result = Draft(file=ev.file)
    for key, value in _comprehension(ev, node, node.key, node.value):
        ev.budget.spend(len(result) // 25)
        result[key] = value
    if ev.origins:
        result._marks_ = dict.fromkeys(result, node.value.lineno)
    return result
