from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, IterTimerHook, ThroughputHook, TrainState
from seg_hooks.hooks.timing import count_images

Make = Callable[..., TrainState]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that moves only when told to: no test here waits."""
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def drive(state: TrainState, clock: Callable[[float], None], data: float, step: float, count: int) -> Any:
    for _ in range(count):
        clock(data)
        state.points.fire("before_train_iter", state, batch_idx=state.iter)
        clock(step)
        state.after_step(loss=1.0)
    return state.message_hub


def test_times_and_eta(make_state: Make, clock: Callable[[float], None]) -> None:
    state = make_state(max_iters=10)
    with state:
        hub = drive(state, clock, 1.0, 2.0, 4)
        assert hub.get_scalar("train/data_time") == pytest.approx([1.0] * 4)
        assert hub.get_scalar("train/time") == pytest.approx([3.0] * 4)
        assert hub.get_info("eta") == pytest.approx(18.0)


def test_the_eta_comes_from_this_session(make_state: Make, clock: Callable[[float], None]) -> None:
    state = make_state(max_iters=10)
    state.iter = 8
    with state:
        assert drive(state, clock, 1.0, 1.0, 1).get_info("eta") == pytest.approx(2.0)
        assert drive(state, clock, 1.0, 1.0, 1).get_info("eta") == 0.0


def test_validation_is_not_charged_to_training(make_state: Make, clock: Callable[[float], None]) -> None:
    state = make_state(max_iters=10)
    with state:
        drive(state, clock, 1.0, 1.0, 1)
        assert state.every(1)
        clock(500.0)
        state.validated({"mIoU": 1.0})
        hub = drive(state, clock, 1.0, 1.0, 1)
        assert hub.get_scalar("train/data_time") == pytest.approx([1.0, 1.0])
        assert hub.get_info("eta") == pytest.approx(16.0)


def test_saving_is_not_charged_to_training(make_state: Make, clock: Callable[[float], None]) -> None:
    class Slow:
        priority = "LOWEST"

        def before_save_checkpoint(self, runner: Any, checkpoint: Any) -> None:
            clock(100.0)

    state = make_state([CheckpointHook(1, by_epoch=False), Slow()], max_iters=10)
    with state:
        hub = drive(state, clock, 1.0, 1.0, 3)
        assert hub.get_scalar("train/data_time") == pytest.approx([1.0] * 3)
        assert hub.get_info("eta") == pytest.approx(14.0)


def test_saving_the_best_within_a_validation_is_left_out_once(make_state: Make, clock: Callable[[float], None]) -> None:
    class Slow:
        priority = "LOWEST"

        def before_save_checkpoint(self, runner: Any, checkpoint: Any) -> None:
            clock(100.0)

    state = make_state([CheckpointHook(by_epoch=False, save_best="mIoU"), Slow()], max_iters=10)
    with state:
        drive(state, clock, 1.0, 1.0, 1)
        assert state.every(1)
        clock(500.0)
        state.validated({"mIoU": 1.0})
        hub = drive(state, clock, 1.0, 1.0, 2)
        assert hub.get_scalar("train/data_time") == pytest.approx([1.0] * 3)


def test_a_pass_of_validation_has_its_own_times(make_state: Make, clock: Callable[[float], None]) -> None:
    state, timer = make_state(), IterTimerHook()
    for mode in ("val", "test"):
        setattr(state, f"{mode}_dataloader", range(4))
        getattr(timer, f"before_{mode}_epoch")(state)
        for index in range(2):
            clock(1.0)
            getattr(timer, f"before_{mode}_iter")(state, batch_idx=index)
            clock(2.0)
            getattr(timer, f"after_{mode}_iter")(state, batch_idx=index)
        assert state.message_hub.get_scalar(f"{mode}/data_time") == pytest.approx([1.0, 1.0])
        assert state.message_hub.get_scalar(f"{mode}/time") == pytest.approx([3.0, 3.0])
        assert state.message_hub.get_info("eta") == pytest.approx(6.0)


def test_a_loader_without_a_length_has_no_eta_below_zero(make_state: Make, clock: Callable[[float], None]) -> None:
    state, timer = make_state(), IterTimerHook()
    state.val_dataloader = itertools.count()
    timer.before_val_epoch(state)
    clock(1.0)
    timer.after_val_iter(state, batch_idx=0)
    assert state.message_hub.get_info("eta") == 0.0


def test_images_a_second_and_the_wait_for_data(make_state: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    state, hook, batch = make_state(), ThroughputHook(interval=2), torch.zeros(8, 3)
    hook.before_train(state)
    for index in range(5):
        now[0] += 1.0
        hook.before_train_iter(state, batch_idx=index, data_batch=batch)
        now[0] += 3.0
        hook.after_train_iter(state, batch_idx=index, data_batch=batch)
        if index == 3:
            now[0] += 100.0
            hook.after_val(state)
    assert state.message_hub.get_scalar("train/images_per_s") == pytest.approx([16 / 7, 2.0])
    assert state.message_hub.get_scalar("train/data_share") == pytest.approx([1 / 7, 0.25])


def test_saving_falls_between_windows(make_state: Make) -> None:
    state, hook = make_state(), ThroughputHook(interval=2)
    for index in range(3):
        hook.before_train_iter(state, batch_idx=index)
        hook.after_train_iter(state, batch_idx=index)
        hook.before_save_checkpoint(state, checkpoint={})
    assert state.message_hub.scalars == {}


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (torch.zeros(4, 3, 2, 2), 4),
        ((torch.zeros(4, 3, 2, 2), torch.zeros(4, 2, 2)), 4),
        ({"inputs": [1, 2, 3]}, 3),
        ({"image": torch.zeros(5, 3, 2, 2), "mask": None}, 5),
        ([([1, 2], 0), 3], 2),
        ([torch.zeros(3, 2, 2)] * 6, 6),
        (None, 0),
        ({}, 0),
        (torch.tensor(1), 0),
    ],
)
def test_counting(batch: object, count: int) -> None:
    assert count_images(batch) == count


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="interval=0"):
        ThroughputHook(interval=0)
