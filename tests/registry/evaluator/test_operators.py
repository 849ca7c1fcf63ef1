"""Operators: the values are Python's (see test_evaluate), the cost is known and paid before the work is done."""

from __future__ import annotations

import ast
from itertools import count
from typing import Any

import pytest
from seg_registry import LimitError, UnsafeConfigError
from seg_registry.evaluator.operators import binary, compare
from seg_registry.values.budget import Budget
from seg_registry.values.marked_dict import MarkedDict

LONG = 1 << 5000  # paid for by every 256 bits
RANGES = (range(1000), range(10**15))


def cost(work: Any, kind: Any, left: Any, right: Any) -> int:
    """What an operation took away from a budget."""
    budget = Budget(100_000)
    work(kind, left, right, budget)
    return 100_000 - budget.left


@pytest.mark.parametrize(
    ("kind", "left", "right", "units"),
    [
        (ast.Add, 1, 2, 0),
        (ast.Add, LONG, LONG, 10002 // 256),
        (ast.Sub, LONG, 1, 5002 // 256),
        (ast.Add, 255, 1 << 246, 0),
        (ast.Add, 255, 1 << 247, 1),
        (ast.Mult, 1.5, 1 << 1000, 0),
        (ast.Pow, 3, 64, 0),
        (ast.Pow, 3, 65, 10_000 // 256),
        (ast.LShift, 1, 64, 0),
        (ast.LShift, 1, 65, 10_000 // 256),
        (ast.RShift, 1, 1000, 0),
        (ast.Mult, "ab", 800, 100),
        (ast.Mult, 800, b"ab", 100),
        (ast.Mult, "ab" * 100, -3, 0),
        (ast.Mult, "ab" * 100, 0, 0),
        (ast.Mult, [0, 0], 10, 20 + 3 + 30),
        (ast.Mult, 3, (0,), 3 + 2 + 6),
        (ast.Mult, [0, 0], 0, 3),
        (ast.Mult, [0, 0], -1, 3),
        (ast.Add, "a" * 800, "b" * 800, 100),
        (ast.Add, [0, 0], [0], 3 + 2),
        (ast.Add, (0,), (), 2 + 1),
        (ast.BitOr, {"a": 1}, {"b": 1}, 2 * (2 + 2)),
        (ast.Sub, {1, 2}, {1}, 2 * (3 + 2)),
        (ast.Mod, "%s" * 16, ("x" * 64,) * 16, (32 + 16 * 64) // 16),
        (ast.Mod, "%100d", 1, (5 + 100 + 32) // 16),
    ],
    ids=count(),
)
def test_what_an_operation_costs(kind: Any, left: Any, right: Any, units: int) -> None:
    assert cost(binary, kind, left, right) == units


@pytest.mark.parametrize(
    ("kind", "left", "right", "units"),
    [
        (ast.Eq, 1, LONG, 0),
        (ast.Eq, [1, 2], 1, 3),
        (ast.NotEq, 1.5, (1, 2), 3),
        (ast.Eq, [1, 2], [1], 3 + 2),
        (ast.In, 5, RANGES[1], 0),
        (ast.NotIn, True, RANGES[1], 0),
        (ast.In, 0.5, RANGES[0], 1000),
        (ast.NotIn, "x", RANGES[0], 1000),
        (ast.In, 0.5, [1, 2], 3),
        (ast.Eq, 0.5, RANGES[1], 0),
    ],
    ids=count(),
)
def test_what_a_comparison_costs(kind: Any, left: Any, right: Any, units: int) -> None:
    assert cost(compare, kind, left, right) == units


@pytest.mark.parametrize(
    ("kind", "left", "right", "match"),
    [
        (ast.Pow, 2, 10**9, "this power has more than 10000 bits"),
        (ast.LShift, 1, 10_000, "this shift gives more than 10000 bits"),
        (ast.Mult, LONG, LONG, "this product has more than 10000 bits"),
        (ast.Add, 1 << 10_000, 1, "an integer has more than 10000 bits"),
        (ast.Add, 1, 1 << 10_000, "an integer has more than 10000 bits"),
        (ast.Mult, "a", 200_001, "a string .* this one has 200,001"),
        (ast.Add, "a" * 100_001, "b" * 100_000, "a string .* this one has 200,001"),
        (ast.Mod, "%999d" * 300, 1, "a string .* this one has "),
        (ast.Mult, [0] * 10, 10**9, "more work"),
        (ast.Mult, 10**9, [0] * 10, "more work"),
    ],
    ids=count(),
)
def test_what_is_too_much(kind: Any, left: Any, right: Any, match: str) -> None:
    with pytest.raises(LimitError, match=match):
        binary(kind, left, right, Budget())


def test_a_range_is_walked_only_where_python_walks_it() -> None:
    for left in (0.5, "x", 1 + 0j, None):
        with pytest.raises(LimitError, match="more work"):
            compare(ast.In, left, RANGES[1], Budget())
    assert compare(ast.In, 5, RANGES[1], Budget(0)) is True
    assert compare(ast.NotIn, False, RANGES[1], Budget(0)) is False


@pytest.mark.parametrize(
    ("kind", "left", "right"),
    [
        (ast.MatMult, 1, 1),
        (ast.Mod, b"%s", b"x"),
        (ast.Mod, "%(key)s", {"key": 1}),
        (ast.Mod, "%*d", (5, 1)),
        (ast.Mod, "%a", 1),
        (ast.Mod, "%1000d", 1),
    ],
)
def test_what_is_not_evaluated(kind: Any, left: Any, right: Any) -> None:
    with pytest.raises(UnsafeConfigError):
        binary(kind, left, right, Budget())


@pytest.mark.parametrize(("left", "right"), [([1], [1]), ({}, 2), (2, {1}), ("a", 1.5), (None, 3), (1.5, [1])])
def test_what_cannot_be_multiplied(left: Any, right: Any) -> None:
    with pytest.raises(TypeError, match="cannot multiply"):
        binary(ast.Mult, left, right, Budget())


def test_what_python_refuses_is_pythons_error() -> None:
    joined = [(ast.Add, [1], (2,)), (ast.Add, "a" * 200_000, [1]), (ast.Add, [1] * 9, "a" * 200_000)]
    for kind, left, right in [(ast.Mod, [1], 2), (ast.Sub, "50%", "5%"), (ast.BitOr, "%", 1), *joined]:
        with pytest.raises(TypeError):
            binary(kind, left, right, Budget())


def test_percent_takes_one_value_or_a_tuple() -> None:
    assert binary(ast.Mod, "%s and %5.1f%%", ("a", 2.55), Budget()) == "a and   2.5%"
    assert binary(ast.Mod, "%s", [1, 2], Budget()) == "[1, 2]"
    assert binary(ast.Mod, "%d%%", 5, Budget()) == "5%"
    assert binary(ast.Mod, 7, 4, Budget()) == 3


def test_a_union_of_dicts_keeps_where_the_left_one_came_from() -> None:
    left, right = MarkedDict({"a": 1, "b": 2}, file="c.py", marks={"a": 3}), {"b": 5}
    both = binary(ast.BitOr, left, right, Budget())
    assert (both, both._file_, both._marks_) == ({"a": 1, "b": 5}, "c.py", {"a": 3})
    assert type(binary(ast.BitOr, right, left, Budget())) is dict
    assert binary(ast.BitOr, {1}, {2}, Budget()) == {1, 2}
    assert binary(ast.BitAnd, MarkedDict({"a": 1}).keys(), {"a"}, Budget()) == {"a"}
    with pytest.raises(TypeError):
        binary(ast.BitOr, left, 5, Budget())
