from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from seg_hooks import ProfilerHook, TrainState

Make = Callable[..., TrainState]
Train = Callable[..., None]


def test_the_first_iterations_are_profiled_and_written(make_state: Make, train: Train, tmp_path: Path) -> None:
    hook = ProfilerHook(by_epoch=False, profile_times=2, json_trace_path=tmp_path / "traces/trace.json")
    open_after: list[bool] = []
    train(make_state([hook], max_iters=4), on_step=lambda state: open_after.append(hook.profiler is not None))
    assert open_after == [True, False, False, False]
    names = {event.get("name") for event in json.loads((tmp_path / "traces/trace.json").read_text())["traceEvents"]}
    assert "aten::addmm" in names


def test_a_table_goes_to_the_log(make_state: Make, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    state = make_state([ProfilerHook(on_trace_ready={"type": "log_trace", "sort_by": "cpu_time", "row_limit": 3})])
    state.logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    train(state)
    assert "Self CPU" in caplog.text


def test_traces_for_tensorboard_lie_in_the_log_folder(make_state: Make, train: Train) -> None:
    state = make_state([ProfilerHook(by_epoch=False, profile_times=1, on_trace_ready={"type": "tb_trace"})])
    train(state)
    assert list((state.log_dir / "tf_tracing_logs").glob("*.json"))


def test_a_function_gets_the_profiler_and_a_schedule_is_kept(make_state: Make, train: Train) -> None:
    ready: list[Any] = []
    schedule = {"wait": 1, "warmup": 1, "active": 1, "repeat": 1}
    hook = ProfilerHook(by_epoch=False, profile_times=5, schedule=schedule, on_trace_ready=ready.append)
    train(make_state([hook]))
    assert len(ready) == 1


def test_an_exception_closes_the_profiler(make_state: Make, train: Train) -> None:
    hook = ProfilerHook()
    with pytest.raises(KeyboardInterrupt):
        train(make_state([hook]), stop=3)
    assert hook.profiler is None


def test_more_than_the_run_has_is_refused(make_state: Make) -> None:
    with pytest.raises(ValueError, match="profile_times=11, but the run has only 10 iterations"):
        make_state([ProfilerHook(by_epoch=False, profile_times=11)]).__enter__()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"by_epoch": 1}, TypeError, "by_epoch=1"),
        ({"profile_times": 0}, ValueError, "profile_times=0"),
        ({"profile_times": 2}, ValueError, "by_epoch=False"),
        ({"activity_with_cpu": 1}, TypeError, "activity_with_cpu=1"),
        ({"activity_with_cuda": 1}, TypeError, "activity_with_cuda=1"),
        ({"schedule": 3}, TypeError, "schedule=3"),
        ({"schedule": {"waits": 3}}, TypeError, "Did you mean 'wait'"),
        ({"on_trace_ready": 3}, TypeError, "on_trace_ready=3"),
        ({"on_trace_ready": {"type": "x"}}, ValueError, "log_trace"),
        ({"on_trace_ready": {"type": "log_trace", "sort": 3}}, TypeError, "Did you mean 'sort_by'"),
        ({"record_shapes": 1}, TypeError, "record_shapes=1"),
        ({"profile_memory": 1}, TypeError, "profile_memory=1"),
        ({"with_stack": 1}, TypeError, "with_stack=1"),
        ({"with_flops": 1}, TypeError, "with_flops=1"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ProfilerHook(**options)
