"""The hook table: which hooks run at which point, in which order; frozen during a run, printable, fast to call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from seg_runner.errors import add_note, did_you_mean, edit_distance, nearest

__all__ = ["POINTS", "PRIORITIES", "HookTable", "Point", "Points", "priority_number"]

_ITER = {"before": ("batch_idx", "data_batch"), "after": ("batch_idx", "data_batch", "outputs")}

#: Every point, in the order in which a run meets them, with the keywords that its hooks are called with.
POINTS: dict[str, tuple[str, ...]] = {
    "before_run": (),
    "after_load_checkpoint": ("checkpoint",),
    "before_train": (),
    "before_train_epoch": (),
    "before_train_iter": _ITER["before"],
    "after_train_iter": _ITER["after"],
    "after_train_epoch": (),
    "before_val": (),
    "before_val_epoch": (),
    "before_val_iter": _ITER["before"],
    "after_val_iter": _ITER["after"],
    "after_val_epoch": ("metrics",),
    "after_val": (),
    "before_save_checkpoint": ("checkpoint",),
    "after_train": (),
    "before_test": (),
    "before_test_epoch": (),
    "before_test_iter": _ITER["before"],
    "after_test_iter": _ITER["after"],
    "after_test_epoch": ("metrics",),
    "after_test": (),
    "after_run": (),
}

#: Names of priorities; a smaller number runs earlier.
PRIORITIES: dict[str, int] = {
    "HIGHEST": 0,
    "VERY_HIGH": 10,
    "HIGH": 30,
    "ABOVE_NORMAL": 40,
    "NORMAL": 50,
    "BELOW_NORMAL": 60,
    "LOW": 70,
    "VERY_LOW": 90,
    "LOWEST": 100,
}


def priority_number(value: object) -> int:
    """Return the number of a priority: of a name in any case, an enum member, or a number from 0 to 100.

    Raises:
        ValueError: the number lies outside 0..100.
        KeyError: there is no priority of that name.
        TypeError: neither a name nor a whole number.

    >>> priority_number("very_low"), priority_number(42)
    (90, 42)
    """
    value = getattr(value, "value", value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"priority must be a name or a whole number from 0 to 100, not {value!r}")
    if isinstance(value, int):
        if not 0 <= value <= 100:
            raise ValueError(f"priority must lie between 0 (first) and 100 (last), not {value}")
        return value
    if value.upper() not in PRIORITIES:
        known = ", ".join(f"{name} {number}" for name, number in PRIORITIES.items())
        raise KeyError(f"no priority is called {value!r}.{did_you_mean(value.upper(), PRIORITIES)} Known: {known}")
    return PRIORITIES[value.upper()]


def priority_name(number: int) -> str:
    """Return the name of a priority, or its number where it has none."""
    return next((name for name, known in PRIORITIES.items() if known == number), str(number))


Bound = tuple[Callable[..., object], tuple[str, ...] | None]
"""A hook's method, and the keywords that it takes; None for all that the point is called with."""


@dataclass(frozen=True)
class Entry:
    """A registered hook: who, how early, and where the config names it (` (configs/train.py:12)`, or nothing)."""

    hook: Any
    priority: int
    where: str = ""

    @property
    def name(self) -> str:
        """Return the name of the hook's class."""
        return type(self.hook).__name__


class Point:
    """One frozen point: calling it calls every hook that does something there, in order."""

    __slots__ = ("_calls", "_runner", "entries", "name")

    def __init__(self, name: str, runner: object, entries: list[Entry]) -> None:
        self.name = name
        self.entries = tuple(entries)
        self._runner = runner
        self._calls = tuple((entry, *bind(entry.hook, name)) for entry in entries)

    def __call__(self, **keywords: object) -> None:
        """Run the hooks with the point's keywords; an exception gains a note and passes unchanged."""
        entry = None
        try:
            for entry, method, names in self._calls:  # noqa: B007 (entry is named in the note below)
                if names is None:
                    method(self._runner, **keywords)
                else:
                    method(self._runner, **{name: keywords[name] for name in names if name in keywords})
        except Exception as error:
            named = f"{entry.name}{entry.where}" if entry else "?"
            add_note(error, f"in hook {named}, point {self.name}, {_progress(self._runner)}")
            raise


class Points:
    """The frozen table: one attribute per point. `print` shows the timetable."""

    __slots__ = tuple(POINTS)

    def __init__(self, runner: object, entries: list[Entry]) -> None:
        for name in POINTS:
            live = [entry for entry in entries if is_live(entry.hook, name)]
            object.__setattr__(self, name, Point(name, runner, live))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"the hook table is frozen: register a hook before the run instead of setting {name!r}")

    def __getattr__(self, name: str) -> Point:
        raise AttributeError(f"there is no point called {name!r}.{did_you_mean(name, POINTS)}")

    def __iter__(self) -> Iterator[Point]:
        return (getattr(self, name) for name in POINTS)

    def __str__(self) -> str:
        blocks = []
        for point in self:
            lines = [f"({priority_name(entry.priority):<12}) {entry.name}" for entry in point.entries]
            if lines:
                blocks.append("\n".join([f"{point.name}:", *lines]))
        return "\n -------------------- \n".join(blocks) if blocks else "(no hooks)"


class HookTable:
    """The hooks of a runner: `add` checks and registers one, `freeze` gives the callable points of all of them."""

    def __init__(self, runner: object) -> None:
        self._runner = runner
        self._entries: list[Entry] = []
        self._points: Points | None = None
        self.running = False
        self.fallbacks: dict[str, object] = {}

    @property
    def hooks(self) -> list[Any]:
        """Return the hooks in the order in which they run."""
        return [entry.hook for entry in self._entries]

    def add(self, hook: object, priority: object = None, where: str = "") -> None:
        """Register a hook: before those of a larger priority, after those of the same.

        Args:
            hook: The hook.
            priority: Name or number; None: the hook's own, else NORMAL.
            where: The line of the config that names it, for the note of its errors.

        Raises:
            RuntimeError: a run is under way.
            TypeError: the object has no point, a method named nearly like one, or a point with a wrong signature.
        """
        if self.running:
            raise RuntimeError(
                f"{type(hook).__name__} was registered while the run is under way; the hook table is frozen then. "
                "Register it before train(), val() or test()."
            )
        check_hook(hook)
        number = priority_number(_own_priority(hook) if priority is None else priority)
        if priority is not None:
            _keep_priority(hook, priority)
        place = sum(entry.priority <= number for entry in self._entries)
        self._entries.insert(place, Entry(hook, number, where))
        self._points = None

    def set_fallbacks(self, hooks: Mapping[str, object]) -> None:
        """Put these in for default hooks that are absent, in place of the earlier ones."""
        if hooks == self.fallbacks:
            return
        old = list(map(id, self.fallbacks.values()))
        self._entries = [entry for entry in self._entries if id(entry.hook) not in old]
        self.fallbacks = dict(hooks)
        for hook in hooks.values():
            self.add(hook)
        self._points = None

    def where_of(self, hook: object) -> str:
        """Return the line of the config that names a hook, as ` (configs/train.py:12)`; empty where none does."""
        return next((entry.where for entry in self._entries if entry.hook is hook), "")

    @property
    def registered(self) -> list[Any]:
        """Return the hooks without the fallbacks."""
        fallbacks = list(map(id, self.fallbacks.values()))  # by identity: a hook may define its own ==
        return [hook for hook in self.hooks if id(hook) not in fallbacks]

    def freeze(self) -> Points:
        """Return the table as it stands, built once and kept until the next registration."""
        if self._points is None:
            self._points = Points(self._runner, self._entries)
        return self._points

    def call(self, name: str, **keywords: object) -> None:
        """Run a point, or any other name that some hooks have as a method."""
        if name in POINTS:
            getattr(self.freeze(), name)(**keywords)
            return
        methods = [method for hook in self.hooks if callable(method := getattr(hook, name, None))]
        if not methods and (near := nearest(name, POINTS, cutoff=0.9)):
            raise AttributeError(f"there is no point called {name!r}, and no hook has it. Did you mean {near!r}?")
        for method in methods:
            method(self._runner, **keywords)


def _own_priority(hook: object) -> object:
    return getattr(hook, "priority", "NORMAL")


def _keep_priority(hook: object, priority: object) -> None:
    with suppress(AttributeError):  # slots, frozen dataclasses: the table knows it anyway
        setattr(hook, "priority", priority)  # noqa: B010 (an `object` has no attribute of that name)


def is_live(hook: object, point: str) -> bool:
    """Tell whether the hook does something at this point."""
    decide = getattr(hook, "get_triggered_stages", None)
    if callable(decide):  # a hook written for MMEngine, which calls all that a hook has, whatever this list says
        return point in decide() or _overrides(hook, point)
    return _does_something(hook, point) or _shared_method(hook, point) is not None


def _overrides(hook: object, point: str) -> bool:
    """Tell whether a class of the hook, other than MMEngine's own base, has the point's method or one for all modes."""
    words = point.split("_")
    names = (point, f"_{words[0]}_{words[-1]}") if words[-1] in ("iter", "epoch") else (point,)
    kinds = [kind for kind in type(hook).__mro__ if kind.__module__ != "mmengine.hooks.hook"]
    return any(callable(vars(kind).get(name)) and _does_something(hook, name) for kind in kinds for name in names)


def _does_something(hook: object, name: str) -> bool:
    method = getattr(hook, name, None)
    return callable(method) and not getattr(method, "__noop_point__", False)


def _shared_method(hook: object, point: str) -> str | None:
    """Return `_before_iter`, `_after_epoch`, ... where that stands for a point that the hook has no method for."""
    words = point.split("_")
    if words[-1] not in ("iter", "epoch"):
        return None
    name = f"_{words[0]}_{words[-1]}"
    return name if _does_something(hook, name) else None


def bind(hook: object, point: str) -> Bound:
    """Return the method of a hook that runs at this point, and which of the point's keywords it takes."""
    theirs = callable(getattr(hook, "get_triggered_stages", None)) and hasattr(
        hook, point
    )  # calls the shared one itself
    if theirs or _does_something(hook, point):
        method = getattr(hook, point)
        return method, _taken(method, POINTS[point])
    shared = _shared_method(hook, point)
    if shared is None:
        raise AssertionError(f"{hook!r} does nothing at {point}")
    method = getattr(hook, shared)
    keywords = tuple(name for name in POINTS[point] if name != "metrics")
    names = _taken(method, (*keywords, "mode"))
    if names is None or "mode" in names:
        method = functools.partial(method, mode=point.split("_")[1])
    return method, keywords if names is None else tuple(name for name in names if name != "mode")


def _taken(method: Callable[..., object], keywords: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the keywords that a method takes; None where it takes all."""
    plain = _plain_names(method)
    if plain is not None:
        return None if plain >= set(keywords) else tuple(name for name in keywords if name in plain)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = {parameter.name for parameter in parameters}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters) or names >= set(keywords):
        return None
    return tuple(name for name in keywords if name in names)


def _plain_names(method: Callable[..., object]) -> set[str] | None:
    """Return the names that a plain method takes behind `runner`, as its code has them; None where more is to be seen.

    Most methods are plain, and `inspect.signature` takes 30 us for each.
    """
    function = getattr(method, "__func__", None)
    if type(function) is not FunctionType or vars(function):  # a decorator may have declared other names
        return None
    code = function.__code__
    if code.co_argcount < 2 or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return None
    return set(code.co_varnames[2 : code.co_argcount + code.co_kwonlyargcount])


def check_hook(hook: object) -> None:
    """Refuse what cannot work: no point at all, a method named nearly like one, a signature that will not fit."""
    if isinstance(hook, type):
        raise TypeError(f"a hook must be an object, not the class {hook.__name__}: write {hook.__name__}()")
    methods = [name for name in dir(type(hook)) if not name.startswith("_") and callable(getattr(hook, name, None))]
    for name in methods:
        if (near := _near_point(name)) is not None:
            raise TypeError(f"{type(hook).__name__}.{name} is not a point of a run. Did you mean {near!r}?")
    points = [name for name in POINTS if callable(getattr(hook, name, None))]
    if not points and not any(is_live(hook, point) for point in POINTS):
        raise TypeError(
            f"{type(hook).__name__} is not a hook: it has no method named after a point. Points: {', '.join(POINTS)}"
        )
    for point in points:
        if _does_something(hook, point):
            _check_signature(hook, point)


@functools.cache  # by the method's name, as hooks share most of theirs
def _near_point(name: str) -> str | None:
    """Return the point that a method of another name was probably meant for."""
    if name in POINTS:
        return None
    alike = (point for point in POINTS if abs(len(name) - len(point)) <= 2)  # what is longer cannot be two letters off
    return next((point for point in alike if edit_distance(name, point) <= 2), None)


def _check_signature(hook: object, point: str) -> None:
    method = getattr(hook, point)
    plain = _plain_names(method)
    if plain is not None and plain <= set(POINTS[point]):
        return
    where = f"{type(hook).__name__}.{point}"
    expected = ", ".join(("runner", *POINTS[point]))
    parameters = list(inspect.signature(method).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in (*positional, inspect.Parameter.VAR_POSITIONAL):
        raise TypeError(f"{where} must take the runner as its first argument; it may take ({expected})")
    for parameter in parameters[1:]:
        if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        if parameter.name not in POINTS[point] and parameter.default is inspect.Parameter.empty:
            near = did_you_mean(parameter.name, POINTS[point])
            raise TypeError(
                f"{where} asks for {parameter.name!r}, which this point does not give.{near} It gives ({expected})"
            )


def _progress(runner: object) -> str:
    return f"iteration {getattr(runner, 'iter', 0)}"
