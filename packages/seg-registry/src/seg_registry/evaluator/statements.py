"""Statements of a Python config: one handler per node class, nothing executed."""

from __future__ import annotations

import ast

from seg_registry.evaluator.calls import METHODS, to_list
from seg_registry.evaluator.evaluator import HANDLERS, Evaluator, eval_holder, read_attribute, read_item, refuse
from seg_registry.evaluator.imports import imports, read_base
from seg_registry.evaluator.operators import binary
from seg_registry.evaluator.targets import store
from seg_registry.values.marked_dict import MarkedDict

__all__: list[str] = []


def _assign(ev: Evaluator, node: ast.Assign) -> None:
    value = HANDLERS[node.value.__class__](ev, node.value)
    if type(node.value) is ast.Tuple and _is_stray_comma(node.value):
        value = value[0]
        ev.notes.append((node.lineno, "the comma after this dict makes it a tuple of one; taken as the dict itself"))
    line = ev.mark(node.value)
    for target in node.targets:
        if target.__class__ is ast.Name:
            if target.id != "_base_":
                ev.bind(target.id, value, line)
        else:
            store(ev, target, value)


def _is_stray_comma(node: ast.Tuple) -> bool:
    """Tell whether this is `name = dict(...),`: a slip of the keyboard that Python takes for a tuple."""
    if len(node.elts) != 1 or node.elts[0].col_offset != node.col_offset or node.elts[0].lineno != node.lineno:
        return False
    only = node.elts[0]
    return isinstance(only, ast.Dict) or (
        isinstance(only, ast.Call) and isinstance(only.func, ast.Name) and only.func.id == "dict"
    )


def _annotated(ev: Evaluator, node: ast.AnnAssign) -> None:
    if isinstance(node.target, ast.Name) and node.target.id == "_base_":
        ev.notes.append((node.lineno, "an annotated _base_ is not taken as a base; write _base_ = ..."))
    elif node.value is not None:
        store(ev, node.target, ev.eval(node.value))


def _augmented(ev: Evaluator, node: ast.AugAssign) -> None:
    """Change lists, dicts and sets in place, as in Python: other names of the same object see it."""
    target = node.target
    old = ev.eval(target) if isinstance(target, ast.Name) else eval_holder(ev, target)
    value = ev.eval(node.value)
    if isinstance(old, list) and isinstance(node.op, ast.Add):
        old.extend(to_list(value, ev.budget))
        ev.budget.spend_on(old)
        return
    if isinstance(old, dict) and isinstance(node.op, ast.BitOr):
        METHODS[type(old)]["update"](ev.budget, old, value)
        ev.changed(old, target, [value], {})
        return
    result = binary(type(node.op), old, value, ev.budget)
    ev.budget.spend_on(result)
    if isinstance(old, list) and isinstance(result, list):
        old[:] = result
    elif isinstance(old, set) and isinstance(result, set):
        old.clear()
        old.update(result)
    else:
        store(ev, target, result)


def _expression(ev: Evaluator, node: ast.Expr) -> None:
    if _updates_globals(node.value):
        args = node.value.args  # type: ignore[attr-defined]
        table = ev.eval(args[0]) if len(args) == 1 else None
        if not isinstance(table, MarkedDict):
            raise refuse("globals().update() of anything but a dict")
        ev.literal = table
    elif not isinstance(node.value, ast.Constant):
        ev.eval(node.value)


def _updates_globals(node: ast.expr) -> bool:
    """Tell whether this is `globals().update({...})`, with which a config sets keys that are no names."""
    function = node.func if isinstance(node, ast.Call) else None
    holder = function.value if isinstance(function, ast.Attribute) and function.attr == "update" else None
    return isinstance(holder, ast.Call) and isinstance(holder.func, ast.Name) and holder.func.id == "globals"


def _delete(ev: Evaluator, node: ast.Delete) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            if target.id not in ev.names:
                ev.missing_name(target.id)
            ev.names.pop(target.id, None)
        elif isinstance(target, ast.Attribute | ast.Subscript):
            holder = eval_holder(ev, target.value)
            key = target.attr if isinstance(target, ast.Attribute) else ev.eval(target.slice)
            read_attribute(holder, key) if isinstance(target, ast.Attribute) else read_item(holder, key)
            del holder[key]
        else:
            raise refuse(f"del of {type(target).__name__}")


def _if(ev: Evaluator, node: ast.If) -> None:
    ev.block(node.body if ev.eval(node.test) else node.orelse)


def _for(ev: Evaluator, node: ast.For) -> None:
    cost = ev.cost(node)
    for value in to_list(ev.eval(node.iter), ev.budget):
        ev.budget.spend(cost)
        store(ev, node.target, value)
        ev.block(node.body)
    ev.block(node.orelse)


HANDLERS.update(
    {
        ast.Assign: _assign,
        ast.AnnAssign: _annotated,
        ast.AugAssign: _augmented,
        ast.Expr: _expression,
        ast.Delete: _delete,
        ast.If: _if,
        ast.For: _for,
        ast.Pass: lambda ev, node: None,
        ast.Import: imports,
        ast.ImportFrom: imports,
        ast.With: read_base,
    }
)
