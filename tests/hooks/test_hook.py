from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_hooks import EMAHook, EmptyCacheHook, Hook
from seg_hooks.hook import PRIORITIES, priority_number


def at(iteration: int = 0, epoch: int = 0, max_iters: int = 10, max_epochs: int = 3) -> SimpleNamespace:
    return SimpleNamespace(iter=iteration, epoch=epoch, max_iters=max_iters, max_epochs=max_epochs)


def test_there_are_22_points_and_each_is_a_marked_noop() -> None:
    assert len(Hook.stages) == len(set(Hook.stages)) == 22
    assert all(getattr(Hook, stage).__noop_point__ for stage in Hook.stages)
    assert Hook().get_triggered_stages() == []


def test_a_written_point_is_live_and_unmarked() -> None:
    class Mine(Hook):
        def before_val(self, runner: Any) -> None: ...

    assert Mine().get_triggered_stages() == ["before_val"]
    assert not hasattr(Mine.before_val, "__noop_point__")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("kind", ["iter", "epoch"])
def test_a_shared_point_serves_three_modes(moment: str, kind: str) -> None:
    modes: list[str] = []

    def note(self: Any, runner: Any, *args: Any, mode: str, **kwargs: Any) -> None:
        modes.append(mode)

    hook = type("Mine", (Hook,), {f"_{moment}_{kind}": note})()
    points = [f"{moment}_{mode}_{kind}" for mode in ("train", "val", "test")]
    assert sorted(hook.get_triggered_stages()) == sorted(points)
    for point in points:
        getattr(hook, point)(None, **({"batch_idx": 0} if kind == "iter" else {}))
    assert modes == ["train", "val", "test"]


def test_a_point_of_its_own_goes_before_the_shared_one() -> None:
    seen: list[str] = []

    class Mine(Hook):
        def _after_iter(self, runner: Any, batch_idx: int, mode: str = "train", **rest: Any) -> None:
            seen.append(f"shared {mode}")

        def after_val_iter(self, runner: Any, batch_idx: int, **rest: Any) -> None:
            seen.append("own")

    Mine().after_val_iter(None, batch_idx=0)
    Mine().after_test_iter(None, batch_idx=0)
    assert seen == ["own", "shared test"]


def test_every_n_with_a_start_as_the_reference_counts() -> None:
    hook = Hook()
    assert [hook.every_n_train_iters(at(i), 2, 3) for i in range(6)] == [False, False, True, False, True, False]
    assert [hook.every_n_train_iters(at(i), 2) for i in range(6)] == [False, True, False, True, False, True]
    assert [hook.every_n_epochs(at(epoch=e), 3, 1) for e in range(7)] == [True, False, False, True, False, False, True]
    assert [hook.every_n_inner_iters(b, 2) for b in range(4)] == [False, True, False, True]


@given(st.integers(-5, 0), st.integers(0, 50))
def test_no_interval_is_never(n: int, index: int) -> None:
    hook = Hook()
    assert not hook.every_n_epochs(at(epoch=index), n)
    assert not hook.every_n_train_iters(at(index), n)
    assert not hook.every_n_inner_iters(index, n)


def test_the_last() -> None:
    hook = Hook()
    assert hook.is_last_train_iter(at(9))
    assert not hook.is_last_train_iter(at(8))
    assert hook.is_last_train_epoch(at(epoch=2))
    assert hook.end_of_epoch([1, 2], 1)


def test_priorities() -> None:
    assert list(PRIORITIES.values()) == sorted(PRIORITIES.values())
    assert priority_number("Very_High") == 10
    assert priority_number(33) == 33
    with pytest.raises(KeyError, match="VERY_LOW"):
        priority_number("lowish")
    with pytest.raises(ValueError, match="not between"):
        priority_number(101)
    with pytest.raises(TypeError, match="float"):
        priority_number(1.5)  # type: ignore[arg-type]


def test_a_misspelt_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"EmptyCacheHook has no option 'after_itr'. Did you mean 'after_iter'\?"):
        EmptyCacheHook(after_itr=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"'begin_itr'\. Did you mean 'begin_iter'"):
        EMAHook(begin_itr=3)


def test_options_of_a_users_hook_are_checked_too() -> None:
    class Mine(Hook):
        def __init__(self, interval: int = 1) -> None:
            self.interval = interval

    assert Mine(interval=3).interval == 3
    with pytest.raises(TypeError, match="Did you mean 'interval'"):
        Mine(intervals=3)  # type: ignore[call-arg]
