from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from seg_hooks import ProgressBarHook, TrainState

Make = Callable[..., TrainState]
Train = Callable[..., None]


def test_plain_lines_with_speed_and_time_left(make_state: Make, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    state = make_state([ProgressBarHook("plain", plain_every=1e-9)])
    state.logger.addHandler(caplog.handler)
    train(state)
    lines = [record.getMessage() for record in caplog.records if "steps" in record.getMessage()]
    assert lines[-1].startswith("10 of 10 steps (100 %), ")
    assert lines[-1].endswith("0:00:00 left")


def test_nothing_that_is_not_a_terminal_gets_a_bar(make_state: Make, train: Train) -> None:
    hook = ProgressBarHook()
    train(make_state([hook]))
    assert type(hook.display).__name__ == "_Plain"


def test_without_rich_it_says_so_and_goes_on_plainly(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    state = make_state([ProgressBarHook("rich")])
    state.logger.addHandler(caplog.handler)
    train(state)
    assert "pip install rich)" in caplog.text


def test_an_exception_switches_it_off_and_the_run_goes_on(
    make_state: Make, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise OSError("no screen")

    hook = ProgressBarHook("plain", plain_every=1e-9)
    state = make_state([hook])
    state.logger.addHandler(caplog.handler)

    def break_it(state: TrainState) -> None:
        if hook.display is not None:
            hook.display = Broken()

    train(state, on_step=break_it, every=5, metrics=lambda state: {"mIoU": 1.0})
    assert state.iter == 10
    assert caplog.text.count("ProgressBarHook is switched off: OSError: no screen") == 1


def test_the_bar_of_rich_moves_and_says_what_is_under_way(make_state: Make, train: Train) -> None:
    pytest.importorskip("rich")
    hook, seen = ProgressBarHook("rich"), []

    def look(state: TrainState) -> dict[str, float]:
        hook.after_val_iter(state, batch_idx=0)
        hook._show_pass(state, 3)
        seen.append(hook.display.bar.tasks[0].description)
        return {"mIoU": 1.0}

    state = make_state([hook])
    state.val_dataloader = range(4)
    train(state, every=10, metrics=look)
    task = hook.display.bar.tasks[0]
    assert seen == ["val 3/4"]
    assert (task.completed, task.total, task.description) == (10, 10, "train")
    assert not hook.display.bar.live.is_started


def test_none_shows_nothing(make_state: Make, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    state = make_state([ProgressBarHook("none", plain_every=1e-9)])
    state.logger.addHandler(caplog.handler)
    train(state)
    assert caplog.text == ""


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="Did you mean 'rich'"):
        ProgressBarHook("richh")
    with pytest.raises(ValueError, match="plain_every=0"):
        ProgressBarHook(plain_every=0)
