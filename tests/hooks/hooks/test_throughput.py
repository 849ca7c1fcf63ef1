from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from seg_hooks import ThroughputHook, TrainState
from seg_hooks.hooks.throughput import count_images

Make = Callable[..., TrainState]


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
