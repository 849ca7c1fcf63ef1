"""The hook table: order, live points, signatures, near names, freezing, printing, notes on errors."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_runner.hooks.table import POINTS, PRIORITIES, HookTable, priority_number


def table(*hooks: Any) -> HookTable:
    made = HookTable(SimpleNamespace(iter=7, seen=[]))
    for hook in hooks:
        made.add(hook)
    return made


class Recorder:
    """A hook without any base class."""

    def __init__(self, name: str, seen: list[str], priority: Any = "NORMAL") -> None:
        self.name, self.seen, self.priority = name, seen, priority

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.seen.append(self.name)


@given(st.lists(st.sampled_from([*PRIORITIES, 5, 42, 77]), max_size=12))
def test_hooks_run_by_priority_then_by_registration(priorities: list[Any]) -> None:
    seen: list[str] = []
    made = table(*(Recorder(str(i), seen, priority) for i, priority in enumerate(priorities)))
    made.call("after_train_iter", batch_idx=0, data_batch=None, outputs=None)
    expected = sorted(range(len(priorities)), key=lambda i: priority_number(priorities[i]))
    assert seen == [str(i) for i in expected]


def test_a_priority_given_at_registration_beats_the_hooks_own_and_stays_on_it() -> None:
    seen: list[str] = []
    made = table(Recorder("normal", seen))
    late = Recorder("first", seen, "LOWEST")
    made.add(late, priority="HIGHEST")
    made.call("after_train_iter", batch_idx=0)
    assert seen == ["first", "normal"]
    assert late.priority == "HIGHEST"


@pytest.mark.parametrize(("value", "number"), [("highest", 0), ("Very_Low", 90), (0, 0), (100, 100)])
def test_priorities_by_name_in_any_case_and_by_number(value: Any, number: int) -> None:
    assert priority_number(value) == number


def test_priorities_of_an_enum() -> None:
    level = enum.Enum("level", {"LOW": 70})
    assert priority_number(level.LOW) == 70


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (101, ValueError, "between 0"),
        (-1, ValueError, "between 0"),
        ("VERY_LOWW", KeyError, "Did you mean 'VERY_LOW'"),
        (1.5, TypeError, "whole number"),
        (True, TypeError, "whole number"),
    ],
)
def test_wrong_priorities(value: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        priority_number(value)


def test_a_hook_may_take_any_part_of_the_keywords() -> None:
    class Some:
        def __init__(self) -> None:
            self.got: list[Any] = []

        def before_train_iter(self, runner: Any) -> None:
            self.got.append(())

        def after_train_iter(self, runner: Any, outputs: Any) -> None:
            self.got.append(outputs)

        def after_val_epoch(self, runner: Any, **given: Any) -> None:
            self.got.append(given)

    hook = Some()
    points = table(hook).freeze()
    points.before_train_iter(batch_idx=0, data_batch=1)
    points.after_train_iter(batch_idx=0, data_batch=1, outputs=2)
    points.after_val_epoch(metrics=3)
    assert hook.got == [(), 2, {"metrics": 3}]


def test_the_names_of_plain_methods_are_read_off_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what has further names, declares others, or takes all, needs `inspect.signature`, which is slow."""
    asked, got, signature = list[str](), list[Any](), inspect.signature

    def counted(method: Any) -> inspect.Signature:
        asked.append(method.__name__)
        return signature(method)

    def decorated(method: Any) -> Any:
        return functools.wraps(method)(lambda *args, **given: method(*args, **given))

    class Some:
        def before_train_iter(self, runner: Any, data_batch: Any, *, batch_idx: int = 5) -> None:
            got.append((data_batch, batch_idx))

        def before_val(self, runner: Any) -> None: ...

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any, extra: int = 1) -> None:
            got.append((batch_idx, data_batch, outputs, extra))

        @decorated
        def after_val_iter(self, runner: Any, outputs: Any) -> None:
            got.append(outputs)

        def after_val_epoch(self, runner: Any, **given: Any) -> None:
            got.append(given)

    monkeypatch.setattr(inspect, "signature", counted)
    points = table(Some()).freeze()
    slow = ["after_val_iter", "after_val_epoch"]
    assert asked == ["after_train_iter", *slow, *slow]  # to check them, and to call them
    points.before_train_iter(batch_idx=0, data_batch=1)
    points.after_train_iter(batch_idx=0, data_batch=1, outputs=2)
    points.after_val_iter(batch_idx=0, data_batch=1, outputs=2)
    points.after_val_epoch(metrics=3)
    assert got == [(1, 0), (0, 1, 2, 1), 2, {"metrics": 3}]


def test_shared_methods_stand_for_their_points_with_the_mode() -> None:
    class Shared:
        def __init__(self) -> None:
            self.got: list[Any] = []

        def _before_iter(self, runner: Any, batch_idx: int, data_batch: Any, mode: str) -> None:
            self.got.append((mode, batch_idx))

        def _after_epoch(self, runner: Any, mode: str) -> None:
            self.got.append(mode)

        def before_val_iter(self, runner: Any, batch_idx: int) -> None:
            self.got.append("own")

    hook = Shared()
    points = table(hook).freeze()
    for mode in ("train", "val", "test"):
        getattr(points, f"before_{mode}_iter")(batch_idx=3, data_batch=None)
    points.after_train_epoch()
    points.after_val_epoch(metrics={})
    assert hook.got == [("train", 3), "own", ("test", 3), "train", "val"]
    assert not points.after_train_iter.entries


def test_marked_methods_are_documentation_and_cost_nothing() -> None:
    class Documented:
        def before_run(self, runner: Any) -> None:
            """Nothing."""

        before_run.__noop_point__ = True  # type: ignore[attr-defined]

        def _after_iter(self, runner: Any, batch_idx: int, data_batch: Any, outputs: Any, mode: str) -> None:
            """Nothing."""

        _after_iter.__noop_point__ = True  # type: ignore[attr-defined]

        def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            self._after_iter(runner, batch_idx, data_batch, outputs, "test")

        after_test_iter.__noop_point__ = True  # type: ignore[attr-defined]

    class Mine(Documented):
        def before_run(self, runner: Any) -> None:
            runner.seen.append("mine")

    points = table(Mine()).freeze()
    assert [point.name for point in points if point.entries] == ["before_run"]


def test_a_hook_that_lists_fewer_points_than_it_has_loses_no_call() -> None:
    class Base:
        """The base class of MMEngine's hooks, which has all points and does nothing in them."""

        def get_triggered_stages(self) -> list[str]:
            return []

        def after_run(self, runner: Any) -> None: ...

        def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            self._before_iter(runner, batch_idx, data_batch, mode="val")

        def _before_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, mode: str = "train") -> None: ...

    Base.__module__ = "mmengine.hooks.hook"

    class Lists(Base):
        def get_triggered_stages(self) -> list[str]:
            return ["after_train"]

        def after_train(self, runner: Any) -> None:
            runner.seen.append("listed")

        def before_train(self, runner: Any) -> None:
            runner.seen.append("not listed")

        def _before_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, mode: str = "train") -> None:
            runner.seen.append(mode)

    hooks = table(Lists())
    names = ["before_train", "before_train_iter", "before_val_iter", "after_train", "before_test_iter"]
    assert [point.name for point in hooks.freeze() if point.entries] == names
    hooks.call("before_val_iter", batch_idx=0, data_batch=None)
    hooks.call("before_train")
    assert hooks._runner.seen == ["val", "not listed"]


@pytest.mark.parametrize("name", ["after_train_itter", "before_trian", "after_val_epochs"])
def test_a_method_named_nearly_like_a_point_is_refused(name: str) -> None:
    hook = type("Misspelt", (), {name: lambda self, runner: None})()
    with pytest.raises(TypeError, match=f"Misspelt.{name} is not a point of a run. Did you mean"):
        table(hook)


def test_private_names_and_other_names_are_left_alone() -> None:
    class Fine:
        def before_run(self, runner: Any) -> None: ...

        def _after_train_itter(self) -> None: ...

        def every_n_epochs(self) -> None: ...

    table(Fine())


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (lambda self: None, "must take the runner"),
        (lambda self, runner, output: None, "asks for 'output'.*Did you mean 'outputs'"),
        (lambda self, *, batch_idx: None, "must take the runner"),
    ],
)
def test_signatures_that_cannot_work_are_refused_at_registration(method: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        table(type("Odd", (), {"after_train_iter": method})())


def test_what_is_no_hook_is_refused() -> None:
    with pytest.raises(TypeError, match="no method named after a point"):
        table(object())
    with pytest.raises(TypeError, match=r"write Recorder\(\)"):
        table(Recorder)


def test_the_frozen_table_is_frozen() -> None:
    made = table(Recorder("a", []))
    points = made.freeze()
    with pytest.raises(AttributeError, match="frozen"):
        points.before_run = None  # type: ignore[misc]
    made.running = True
    with pytest.raises(RuntimeError, match="while the run is under way"):
        made.add(Recorder("b", []))


def test_registering_between_two_runs_shows_in_the_next_table() -> None:
    made = table(Recorder("a", []))
    first = made.freeze()
    assert made.freeze() is first
    made.add(Recorder("b", []))
    assert len(made.freeze().after_train_iter.entries) == 2


def test_the_timetable_names_points_hooks_and_priorities() -> None:
    text = str(table(Recorder("a", [], "VERY_LOW"), Recorder("b", [], 33)).freeze())
    assert text.splitlines() == ["after_train_iter:", "(33          ) Recorder", "(VERY_LOW    ) Recorder"]
    assert str(table().freeze()) == "(no hooks)"


def test_an_unknown_point_names_the_nearest() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'after_train_iter'"):
        table().freeze().after_train_itr  # type: ignore[attr-defined]


def test_an_exception_keeps_its_type_and_gains_one_note() -> None:
    class Fails:
        def before_train(self, runner: Any) -> None:
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine") as caught:
        table(Recorder("a", []), Fails()).call("before_train")
    assert caught.value.__notes__ == ["in hook Fails, point before_train, iteration 7"]


def test_points_of_ones_own_run_by_name() -> None:
    class Own:
        def before_run(self, runner: Any) -> None: ...

        def on_fire(self, runner: Any, degrees: int) -> None:
            runner.seen.append(degrees)

    made = table(Own())
    made.call("on_fire", degrees=451)
    made.call("nobody_has_this")
    assert made._runner.seen == [451]


def test_fallback_hooks_come_and_go() -> None:
    seen: list[str] = []
    made = table(Recorder("mine", seen))
    made.set_fallbacks({"logger": Recorder("plain", seen)})
    assert [hook.name for hook in made.hooks] == ["mine", "plain"]
    assert [hook.name for hook in made.registered] == ["mine"]
    made.set_fallbacks({})
    assert [hook.name for hook in made.hooks] == ["mine"]


def test_all_22_points_are_there() -> None:
    assert len(POINTS) == 22


def test_a_point_calls_the_hooks_methods_themselves() -> None:
    """Which keywords each takes is looked up once, when the table is frozen: nothing of ours runs between them."""
    above: list[str] = []

    class Looks:
        def before_train_iter(self, runner: Any) -> None:
            above.append(sys._getframe(1).f_code.co_qualname)

        def _after_iter(self, runner: Any, mode: str) -> None:
            above.append(sys._getframe(1).f_code.co_qualname)

    points = table(Looks()).freeze()
    points.before_train_iter(batch_idx=0, data_batch=None)
    points.after_train_iter(batch_idx=0, data_batch=None, outputs=None)
    assert above == ["Point.__call__", "Point.__call__"]
