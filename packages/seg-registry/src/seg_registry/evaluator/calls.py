"""The builtins and methods that a config may call: a fixed table by exact type, never `getattr`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sized
from typing import Any

from seg_registry.errors import LimitError, UnsafeConfigError
from seg_registry.evaluator.operators import binary
from seg_registry.values.budget import Budget, check_size
from seg_registry.values.config_dict import ConfigDict
from seg_registry.values.marked_dict import MarkedDict

__all__ = ["BUILTINS", "FUNCTIONS", "METHODS", "MUTATING", "check_spec", "to_list", "to_str"]


def to_list(values: object, budget: Budget) -> list[Any]:
    """Return the elements of an iterable value as a list, paid for before it is made."""
    if not isinstance(values, str | bytes | list | tuple | dict | set | frozenset | range):
        raise TypeError(f"cannot iterate over {type(values).__name__}")
    if isinstance(values, range):
        budget.spend_on_range(values)
    else:
        budget.spend(len(values))
    return list(values)


def _length(values: Sized) -> int:
    try:
        return len(values)
    except OverflowError:
        raise LimitError("the range has more than 2**63 numbers") from None


def to_str(value: object, budget: Budget) -> str:
    """Return `str(value)`, its length bounded before it is made."""
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(check_size(value))
    budget.spend_on_text(32 * budget.spend_on(value))
    result = str(value)
    budget.spend_on_text(len(result))
    return result


def check_spec(spec: str) -> None:
    """Refuse a format specification that makes long strings."""
    import re

    if not spec:
        return
    if any(len(digits) > 3 for digits in re.findall(r"\d+", spec)) or "{" in spec:
        raise LimitError(f"the format specification {spec!r} asks for more than 999 characters")


def _sum(budget: Budget, values: object, start: object = 0) -> Any:
    if isinstance(start, str | bytes):
        raise TypeError("sum() cannot add strings; use ''.join()")
    for each in to_list(values, budget):
        start = binary(ast.Add, start, each, budget)
    return start


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(budget: Budget, /, *values: object, **options: object) -> Any:
        _only(options, "default")
        for each in values:
            budget.spend_on(each)
        return function(*(to_list(values[0], budget),) if len(values) == 1 else values, **options)

    return call


def _only(options: dict[str, Any], *names: str) -> None:
    for name in options:
        if name not in names:
            raise UnsafeConfigError(f"the argument {name}= is not allowed in this call")


def _sorted(budget: Budget, values: Sized, **options: Any) -> list[Any]:
    _only(options, "reverse")
    for _ in range(len(bin(_length(values)))):  # each of the log2(n) rounds compares about n values
        budget.spend_on(values)
    return sorted(to_list(values, budget), **options)


def _set(budget: Budget, values: object = ()) -> set[Any]:
    items = to_list(values, budget)
    budget.spend_on_keys(len(items))
    return set(items)


def _round(budget: Budget, number: object, ndigits: Any = None) -> Any:
    if isinstance(ndigits, int) and abs(ndigits) > 400:
        raise LimitError("round() takes at most 400 digits in a config")
    if not isinstance(number, int | float):
        raise TypeError(f"cannot round {type(number).__name__}")
    return round(check_size(number) if isinstance(number, int) else number, ndigits)


def _int(budget: Budget, value: Any = 0, base: Any = None) -> int:
    if isinstance(value, str | bytes) and len(value) > 4000:
        raise LimitError("int() takes at most 4,000 characters in a config")
    return check_size(int(value) if base is None else int(value, base))


def _float(budget: Budget, value: Any = 0.0) -> float:
    if isinstance(value, str | bytes) and len(value) > 4000:
        raise LimitError("float() takes at most 4,000 characters in a config")
    return float(value)


def _range(budget: Budget, *bounds: Any) -> range:
    return range(*[check_size(bound) if isinstance(bound, int) else bound for bound in bounds])


def _enumerate(budget: Budget, values: object, start: object = 0) -> list[Any]:
    if not isinstance(start, int):
        raise TypeError(f"enumerate() starts at a whole number, not at {type(start).__name__}")
    return list(enumerate(to_list(values, budget), check_size(start)))


def _zip(budget: Budget, *values: object, **options: object) -> list[Any]:
    _only(options, "strict")
    return list(zip(*[to_list(each, budget) for each in values], strict=bool(options.get("strict"))))


def _reversed(budget: Budget, values: object) -> list[Any]:
    if isinstance(values, set | frozenset):
        raise TypeError("a set has no order to reverse")
    return to_list(values, budget)[::-1]


def _dict(budget: Budget, /, *args: object, **kwargs: object) -> MarkedDict:
    if len(args) > 1:
        raise TypeError(f"dict expected at most 1 argument, got {len(args)}")
    result = MarkedDict()
    for each in args:
        _merge_in(budget, result, each)
    _merge_in(budget, result, kwargs)
    return result


def _merge_in(budget: Budget, table: dict[Any, Any], other: object) -> None:
    """Do what `dict.update` does, with its costs paid first."""
    pairs = _table(other, budget)
    budget.spend_on_keys(len(pairs))
    dict.update(table, pairs)


def _table(value: object, budget: Budget) -> dict[Any, Any]:
    """Return a dict, or pairs as one; each pair is checked, for Python would make a list of whatever it is."""
    if isinstance(value, dict):
        return value
    budget.spend_on(value)
    pairs = to_list(value, budget)
    for place, pair in enumerate(pairs):
        if not isinstance(pair, str | bytes | list | tuple | set | frozenset | range | dict) or _length(pair) != 2:
            kind = type(pair).__name__
            raise TypeError(f"a dict is made from pairs (key, value), but element {place} is no pair: {kind}")
    return MarkedDict(pairs)


BUILTINS: dict[str, Callable[..., Any]] = {
    "dict": _dict,
    "list": lambda budget, values=(): to_list(values, budget),
    "tuple": lambda budget, values=(): tuple(to_list(values, budget)),
    "set": _set,
    "sum": _sum,
    "range": _range,
    "len": lambda budget, values: _length(values),
    "enumerate": _enumerate,
    "int": _int,
    "float": _float,
    "str": lambda budget, value="": to_str(value, budget),
    "bool": lambda budget, value=False: bool(value),
    "min": _extreme(min),
    "max": _extreme(max),
    "abs": lambda budget, number: abs(number),
    "round": _round,
    "zip": _zip,
    "sorted": _sorted,
    "reversed": _reversed,
}


def _update(budget: Budget, table: dict[Any, Any], /, *args: object, **kwargs: object) -> None:
    """Update values of a base key by key, as a ConfigDict is; dicts made in the file as plain dicts are."""
    if isinstance(table, ConfigDict):
        for each in (*args, kwargs):
            budget.spend_on(each)
            table.update(_table(each, budget))
    else:
        for each in (*args, kwargs):
            _merge_in(budget, table, each)


def _merge(budget: Budget, table: object, other: Any) -> None:
    if not isinstance(table, ConfigDict):
        raise UnsafeConfigError("merge() works only on values that come from a base")
    budget.spend_on(other)
    table.merge(other)


def _copy(budget: Budget, value: dict[Any, Any] | list[Any] | set[Any]) -> object:
    budget.spend(len(value))
    return value.with_values(value) if isinstance(value, MarkedDict) else value.copy()


def _pop(budget: Budget, value: dict[Any, Any] | list[Any], *args: Any) -> Any:
    return value.pop(*args)


def _join(budget: Budget, glue: str, values: Iterable[Any]) -> str:
    parts = to_list(values, budget)
    budget.spend_on_text(sum(len(glue) + len(each) for each in parts if isinstance(each, str)))
    return glue.join(parts)


def _format(budget: Budget, pattern: str, /, *args: object, **kwargs: object) -> str:
    from string import Formatter

    size = len(pattern)
    values = [to_str(each, budget) for each in (*args, *kwargs.values())]
    longest = max((len(each) for each in values), default=0)
    for _, field, spec, _ in Formatter().parse(pattern):
        if field is None:
            continue
        if field and not field.isidentifier() and not field.isdigit():
            raise UnsafeConfigError(
                f"the format field {field!r} reads inside an object; only names and numbers are allowed"
            )
        if field.startswith("__"):
            raise UnsafeConfigError(f"the format field {field!r} is not allowed in a config")
        check_spec(spec or "")
        size += longest + (1000 if spec else 0)
    budget.spend_on_text(size)
    return pattern.format(*args, **kwargs)


def _extend(budget: Budget, value: list[Any], more: object) -> None:
    value.extend(to_list(more, budget))


def _replace(budget: Budget, value: str, old: str, new: str, /, count: int = -1) -> str:
    found = len(value) + 1 if old == "" else value.count(old)
    budget.spend_on_text(len(value) + found * len(new))
    return value.replace(old, new, count)


def _split(budget: Budget, value: str, /, *args: Any, **kwargs: Any) -> list[str]:
    budget.spend(len(value))
    return value.split(*args, **kwargs)


def _text(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of texts whose result is about as long as the text itself."""

    def call(budget: Budget, value: str, /, *args: Any, **kwargs: Any) -> Any:
        budget.spend_on_text(len(value))
        return method(value, *args, **kwargs)

    return call


_TABLE_METHODS: dict[str, Callable[..., Any]] = {
    "get": lambda budget, value, *args: value.get(*args),
    "update": _update,
    "merge": _merge,
    "pop": _pop,
    "copy": _copy,
    "items": lambda budget, value: [pair for pair in value.items() if budget.spend(1) is None],
    "keys": lambda budget, value: to_list(value, budget),
    "values": lambda budget, value: [each for each in value.values() if budget.spend(1) is None],
}
METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    MarkedDict: _TABLE_METHODS,
    ConfigDict: _TABLE_METHODS,
    list: {
        "append": lambda budget, value, each: value.append(each),
        "extend": _extend,
        "insert": lambda budget, value, place, each: value.insert(place, each),
        "index": lambda budget, value, each: value.index(each),
        "pop": _pop,
        "copy": _copy,
    },
    set: {"copy": _copy, "update": lambda budget, value, more: value.update(_set(budget, more))},
    str: {
        "format": _format,
        "join": _join,
        "replace": _replace,
        "split": _split,
        **{name: _text(getattr(str, name)) for name in ("strip", "lower", "upper", "startswith", "endswith")},
    },
}
MUTATING = frozenset({"update", "merge", "append", "extend", "insert", "pop"})


def _copied(budget: Budget, value: object) -> Any:
    """Evaluate `copy.copy`."""
    return _copy(budget, value) if isinstance(value, dict | list | set) else value


def _deeply_copied(budget: Budget, value: object) -> Any:
    """Evaluate `copy.deepcopy`: what is one object inside stays one."""
    budget.spend_on(value)
    return _deep(value, {})


def _deep(value: object, memo: dict[int, Any]) -> Any:
    if not isinstance(value, dict | list | tuple | set):
        return value
    if id(value) not in memo:
        if isinstance(value, dict):
            memo[id(value)] = made = value.copy() if isinstance(value, ConfigDict) else MarkedDict(value)
            if isinstance(value, MarkedDict):
                made._file_, made._marks_ = value._file_, value._marks_
            dict.update(made, {key: _deep(each, memo) for key, each in value.items()})
        else:
            memo[id(value)] = type(value)([_deep(each, memo) for each in value])
    return memo[id(value)]


FUNCTIONS: dict[str, Callable[..., Any]] = {"copy.copy": _copied, "copy.deepcopy": _deeply_copied}
"""Functions of the standard library that a config may import and call, by dotted name: pure ones."""
