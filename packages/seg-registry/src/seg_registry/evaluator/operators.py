"""Arithmetic and comparison for the evaluator: on plain values only, sizes checked before the work is done."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from seg_registry.errors import LimitError, UnsafeConfigError
from seg_registry.values.budget import MAX_BITS, Budget, check_size
from seg_registry.values.marked_dict import MarkedDict

__all__ = ["BINARY", "COMPARE", "UNARY", "binary", "compare"]

_NUMBERS = (int, float, bool, complex)
_SEQUENCES = (str, bytes, list, tuple)
_PERCENT = r"%(?:%|[-+ #0]*\d{0,3}(?:\.\d{0,3})?[sdrfeEgGixXo])"

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def binary(kind: type[ast.operator], left: object, right: object, budget: Budget) -> Any:
    """Evaluate `left kind right`, if both are plain values and the result is not too large."""
    if kind not in BINARY:
        raise UnsafeConfigError(f"the operator {kind.__name__} is not allowed in a config")
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        _check_numbers(kind, left, right, budget)
    elif kind is ast.Mult:
        _check_repeat(left, right, budget)
    elif kind is ast.Add and isinstance(left, _SEQUENCES):
        _check_join(left, right, budget)
    elif kind is ast.Mod and isinstance(left, str | bytes):
        _check_percent(left, right, budget)
    else:
        budget.spend(budget.spend_on(left) + budget.spend_on(right))
    if kind is ast.BitOr and isinstance(left, MarkedDict) and isinstance(right, dict):
        return left.with_values({**left, **right})
    return BINARY[kind](left, right)


def _check_numbers(kind: type[ast.operator], left: object, right: object, budget: Budget) -> None:
    if not (isinstance(left, int) and isinstance(right, int)):
        return
    if kind is ast.Pow and left.bit_length() * right > MAX_BITS and left not in (-1, 0, 1):
        raise LimitError(f"this power has more than {MAX_BITS} bits")
    if kind is ast.LShift and left.bit_length() + right > MAX_BITS:
        raise LimitError(f"this shift gives more than {MAX_BITS} bits")
    if kind is ast.Mult:
        _check_product(left, right)
    budget.spend((check_size(left).bit_length() + check_size(right).bit_length()) >> 8)
    if kind in (ast.Pow, ast.LShift):
        budget.spend(MAX_BITS >> 8 if right > 64 else 0)


def _check_product(left: int, right: int) -> None:
    if left.bit_length() + right.bit_length() > MAX_BITS:
        raise LimitError(f"this product has more than {MAX_BITS} bits")


def _check_repeat(left: object, right: object, budget: Budget) -> None:
    sequence, count = (right, left) if isinstance(left, int) else (left, right)
    if not isinstance(sequence, _SEQUENCES) or not isinstance(count, int):
        raise TypeError(f"cannot multiply {type(left).__name__} by {type(right).__name__}")
    if isinstance(sequence, str | bytes):
        budget.spend_on_text(len(sequence) * max(count, 0))
        return
    budget.spend(len(sequence) * max(count, 0))
    size = budget.spend_on(sequence)
    budget.spend(size * max(count, 0))


def _check_join(left: object, right: object, budget: Budget) -> None:
    if isinstance(left, str | bytes) and isinstance(right, str | bytes):
        budget.spend_on_text(len(left) + len(right))
    budget.spend_on(left)
    budget.spend_on(right)


def _check_percent(left: object, right: object, budget: Budget) -> None:
    import re

    if not isinstance(left, str) or "%" in re.sub(_PERCENT, "", left):
        raise UnsafeConfigError("only plain %s, %d, %f, ... are allowed with '%' in a config; an f-string may help")
    values = right if isinstance(right, tuple) else (right,)
    widths = sum(int(digits) for digits in re.findall(r"\d+", left))
    budget.spend_on_text(len(left) + widths + sum(budget.spend_on_shown(each) for each in values))


def compare(kind: type[ast.cmpop], left: object, right: object, budget: Budget) -> Any:
    """Evaluate `left kind right`; containers cost what walking through both costs."""
    if not isinstance(left, _NUMBERS):
        budget.spend_on(left)
    if not isinstance(right, _NUMBERS):
        budget.spend_on(right)
    if kind in (ast.In, ast.NotIn) and isinstance(right, range) and type(left) not in (int, bool):
        budget.spend_on_range(right)  # Python computes it for whole numbers only, and walks for all else
    return COMPARE[kind](left, right)
