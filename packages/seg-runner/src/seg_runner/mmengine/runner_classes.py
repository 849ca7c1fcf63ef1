"""A subclass of MMEngine's Runner (`runner_type`), made a subclass of ours."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

from seg_runner.mmengine.bases import their_class

__all__ = ["as_runner"]

NOT_CALLED = {
    "call_hook": "write a hook",
    "dump_config": "write a hook with before_run",
    "from_cfg": "write __init__, or change the config before the runner is made",
    "get_hooks_info": "print(runner.points) shows the hooks",
    "load_checkpoint": "load_options=dict(...) says how; a hook's after_load_checkpoint sees the weights first",
    "load_or_resume": "load_from, resume and load_options say what is loaded",
    "register_hook": "write a hook",
    "register_hooks": "override register_default_hooks or register_custom_hooks",
    "resume": "a hook's after_load_checkpoint sees the checkpoint first",
    "set_randomness": "randomness=dict(seed=...) does it",
    "setup_env": "env_cfg=dict(...) does it",
}
"""Methods of MMEngine's Runner that ours does not call at that place, and what to do instead of overriding them."""


def as_runner(found: type[Any], ours: type[Any]) -> type[Any]:
    """Return a class as it is, or, where it derives from MMEngine's Runner, the same class derived from ours.

    Its methods are copied, so that `super()` in them means ours; nothing of the class itself is changed.

    Raises:
        TypeError: it overrides what ours does not call, or names MMEngine's Runner in a method.
    """
    theirs = their_class("runner", "Runner")
    if theirs is None or not issubclass(found, theirs):
        return found
    if found is theirs:
        return ours
    for kind in found.__mro__:
        if kind is not theirs and issubclass(kind, theirs):
            _check(kind, theirs, ours)
    return _derived(found, theirs, ours)


def _check(kind: type[Any], theirs: type[Any], ours: type[Any]) -> None:
    for name in vars(kind):
        overrides = hasattr(theirs, name) and not hasattr(object, name)
        if overrides and (name in NOT_CALLED or not callable(getattr(ours, name, None))):
            advice = NOT_CALLED.get(name, "do it in a hook, or in a method that is: train, val, test, build_...")
            raise TypeError(
                f"{kind.__name__} (runner_type) overrides {name} of MMEngine's Runner, which is not called here: "
                f"{advice}"
            )
    for function in _functions(kind):
        named = [name for name in function.__code__.co_names if function.__globals__.get(name) in (theirs, kind)]
        if named:
            raise TypeError(
                f"{kind.__name__}.{function.__name__} (runner_type) names the class {named[0]}, which is MMEngine's "
                "runner, and this run has ours: write super() without arguments, or type(self)"
            )


def _functions(kind: type[Any]) -> Iterator[types.FunctionType]:
    for value in vars(kind).values():
        parts = (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
        yield from (part for part in parts if isinstance(part, types.FunctionType))


def _derived(kind: type[Any], theirs: type[Any], ours: type[Any]) -> type[Any]:
    bases = tuple(
        ours if base is theirs else _derived(base, theirs, ours) if issubclass(base, theirs) else base
        for base in kind.__bases__
    )
    cell = types.CellType()
    names = {name: _moved(value, cell) for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    made = types.new_class(kind.__name__, bases, {}, lambda namespace: namespace.update(names))
    cell.cell_contents = made
    return made


def _moved(value: Any, cell: types.CellType) -> Any:
    """Return a method for which `super()` and `__class__` mean the new class; anything else as it is."""
    if isinstance(value, types.FunctionType):
        return _copied(value, cell)
    if isinstance(value, staticmethod | classmethod):
        return type(value)(_moved(value.__func__, cell))
    if isinstance(value, property):
        read, write, delete = (_moved(part, cell) for part in (value.fget, value.fset, value.fdel))
        return property(read, write, delete, value.__doc__)
    return value


def _copied(function: types.FunctionType, cell: types.CellType) -> Callable[..., Any]:
    closure = function.__closure__ or ()
    cells = tuple(
        cell if name == "__class__" else old for name, old in zip(function.__code__.co_freevars, closure, strict=True)
    )
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__, made.__dict__ = function.__kwdefaults__, dict(vars(function))
    made.__qualname__, made.__doc__, made.__module__ = function.__qualname__, function.__doc__, function.__module__
    made.__annotations__ = dict(function.__annotations__)
    return made
