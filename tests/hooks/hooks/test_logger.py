from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from seg_hooks import LoggerHook, TrainState
from seg_hooks.conversions import to_json
from seg_hooks.own_loop.scalars import ScalarStore

Make = Callable[..., TrainState]
Train = Callable[..., None]


class Backend:
    """Keeps records; fails while it is told to."""

    def __init__(self) -> None:
        self.records: list[tuple[int, dict[str, Any]]] = []
        self.broken = self.closed = False

    def add_scalars(self, record: dict[str, Any], step: int, file_path: str) -> None:
        if self.broken:
            raise ConnectionError("no network")
        self.records.append((step, record))
        self.file_path = file_path

    def close(self) -> None:
        self.closed = True


class Owner:
    """A runner of only what the hook asks for."""

    def __init__(self, folder: Path, max_iters: int = 10, max_epochs: int = 1, length: int = 10) -> None:
        self.work_dir, self.log_dir = folder / "work", folder / "work/20260101_000000"
        self.log_dir.mkdir(parents=True)
        self.iter = self.epoch = 0
        self.max_iters, self.max_epochs = max_iters, max_epochs
        self.message_hub, self.visualizer = ScalarStore(), Backend()
        self.train_dataloader = self.val_dataloader = self.test_dataloader = range(length)
        self.logger = logging.Logger("test")

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        return {"value": batch_idx}, f"{mode} {batch_idx} {finished}"


def steps(owner: Owner, hook: LoggerHook, epochs: bool = False) -> list[int]:
    """Run the hook through a loop; the steps that were recorded."""
    hook.before_train(owner)
    length = len(owner.train_dataloader)
    for index in range(owner.max_iters):
        owner.iter = index
        owner.epoch = index // length if epochs else 0
        hook.after_train_iter(owner, batch_idx=index % length if epochs else index)
    return [step for step, _ in owner.visualizer.records]


def test_at_intervals_and_at_the_end_of_an_iteration_run(tmp_path: Path) -> None:
    assert steps(Owner(tmp_path, max_iters=25), LoggerHook(10)) == [10, 20, 25]
    assert steps(Owner(tmp_path / "b", max_iters=4), LoggerHook(10)) == [4]


def test_the_length_of_the_loader_means_nothing_in_an_iteration_run(tmp_path: Path) -> None:
    assert steps(Owner(tmp_path, max_iters=20, length=7), LoggerHook(10, ignore_last=False)) == [10, 20]


@pytest.mark.parametrize(
    ("interval", "ignore_last", "expected"),
    [(3, True, [3, 8, 10]), (3, False, [3, 5, 8, 10]), (5, True, [5, 10]), (9, True, [5, 10])],
)
def test_in_epochs_of_five(tmp_path: Path, interval: int, ignore_last: bool, expected: list[int]) -> None:
    owner = Owner(tmp_path, max_iters=10, max_epochs=2, length=5)
    assert steps(owner, LoggerHook(interval, ignore_last=ignore_last), epochs=True) == expected


def test_every_record_says_where_it_belongs(tmp_path: Path) -> None:
    owner, hook = Owner(tmp_path, max_iters=10), LoggerHook(5)
    steps(owner, hook)
    owner.iter = 10
    hook.after_val_epoch(owner, metrics={})
    records = [record for _, record in owner.visualizer.records]
    assert [(r["mode"], r["iter"], r["epoch"]) for r in records] == [("train", 5, 0), ("train", 10, 0), ("val", 10, 0)]
    assert owner.visualizer.file_path == "20260101_000000.json"


def test_a_visualizer_of_mmengine_gets_the_rows_of_mmengine(tmp_path: Path) -> None:
    base = type("Visualizer", (Backend,), {"__module__": "mmengine.visualization"})
    owner, hook = Owner(tmp_path, max_iters=3), LoggerHook(interval=3)
    owner.visualizer = type("Mine", (base,), {})()
    steps(owner, hook)
    hook.after_val_epoch(owner, metrics={})
    assert [record for _, record in owner.visualizer.records] == [{"value": 2}, {"value": 9}]


@pytest.mark.parametrize(("by_epoch", "epoch", "step"), [(True, 2, 2), (False, 2, 40), (True, 0, 40)])
def test_the_step_of_metrics(tmp_path: Path, by_epoch: bool, epoch: int, step: int) -> None:
    owner = Owner(tmp_path, max_epochs=3)
    owner.iter, owner.epoch = 40, epoch
    LoggerHook(log_metric_by_epoch=by_epoch).after_val_epoch(owner, metrics={})
    assert [found for found, _ in owner.visualizer.records] == [step]


def test_progress_of_validation_and_test_is_text_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner, hook = Owner(tmp_path), LoggerHook(2)
    owner.logger.addHandler(caplog.handler)
    for index in range(4):
        hook.after_val_iter(owner, batch_idx=index)
        hook.after_test_iter(owner, batch_idx=index)
    assert [record.getMessage() for record in caplog.records] == [
        "val 1 False",
        "test 1 False",
        "val 3 False",
        "test 3 False",
    ]
    assert owner.visualizer.records == []


def test_a_test_leaves_one_json_file(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    LoggerHook().after_test_epoch(owner, metrics={})
    written = json.loads((owner.log_dir / "20260101_000000.json").read_text())
    assert written == {"value": 9, "epoch": 0, "iter": 0, "mode": "test"}


def test_the_name_of_the_experiment_at_its_interval(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner = Owner(tmp_path, max_iters=20)
    owner.logger.addHandler(caplog.handler)
    owner.message_hub.update_info("experiment_name", "mine")
    steps(owner, LoggerHook(5, interval_exp_name=10))
    assert caplog.text.count("Exp name: mine") == 2


def test_a_backend_that_fails_is_reported_once_and_gets_everything_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    owner, hook = Owner(tmp_path, max_iters=50), LoggerHook(10)
    owner.logger.addHandler(caplog.handler)
    owner.visualizer.broken = True
    hook.before_train(owner)
    for index in range(50):
        owner.iter = index
        owner.visualizer.broken = index < 35
        hook.after_train_iter(owner, batch_idx=index)
    hook.after_run(owner)
    assert [step for step, _ in owner.visualizer.records] == [10, 20, 30, 40, 50]
    assert caplog.text.count("a backend failed (ConnectionError: no network)") == 1
    lines = (owner.log_dir / "unsent.json").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20, 30]
    assert owner.visualizer.closed


def test_nothing_that_fails_at_the_end_ends_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner = Owner(tmp_path)
    owner.logger.addHandler(caplog.handler)
    owner.visualizer.close = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    (tmp_path / "far").write_text("a file where a folder should be")
    (owner.log_dir / "a.log").write_text("a line")
    LoggerHook(out_dir=tmp_path / "far").after_run(owner)
    assert "ZeroDivisionError" in caplog.text
    assert (owner.log_dir / "a.log").exists()


@pytest.mark.parametrize("keep_local", [True, False])
def test_logs_are_copied_at_the_end_once_and_not_nested(tmp_path: Path, keep_local: bool) -> None:
    owner = Owner(tmp_path)
    hook = LoggerHook(out_dir=tmp_path / "far", keep_local=keep_local, out_suffix=(".log", ".json"))
    for _ in range(2):
        (owner.log_dir / "vis_data").mkdir(exist_ok=True)
        for name in ("a.log", "vis_data/scalars.json", "a.png"):
            (owner.log_dir / name).write_text(name)
        hook.after_run(owner)
    copied = sorted(str(path.relative_to(tmp_path / "far")) for path in (tmp_path / "far").rglob("*") if path.is_file())
    assert copied == ["work/20260101_000000/a.log", "work/20260101_000000/vis_data/scalars.json"]
    assert (owner.log_dir / "a.log").exists() is keep_local
    assert (owner.log_dir / "a.png").exists()


def test_numbers_that_json_cannot_hold_become_null() -> None:
    value = {"a": float("nan"), "b": [float("inf"), 1], "c": None, "d": Path("x"), "e": True}
    assert json.loads(json.dumps(to_json(value), allow_nan=False)) == {
        "a": None,
        "b": [None, 1],
        "c": None,
        "d": "x",
        "e": True,
    }


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"interval": 0}, ValueError, "interval=0"),
        ({"interval": "10"}, TypeError, "interval='10'"),
        ({"interval_exp_name": 0}, ValueError, "interval_exp_name=0"),
        ({"ignore_last": 1}, TypeError, "ignore_last=1"),
        ({"keep_local": "no"}, TypeError, "keep_local='no'"),
        ({"log_metric_by_epoch": 0}, TypeError, "log_metric_by_epoch=0"),
        ({"out_dir": 3}, TypeError, "out_dir=3"),
        ({"out_dir": "s3://x"}, ValueError, "is a remote address"),
        ({"out_suffix": 3}, TypeError, "out_suffix=3"),
        ({"file_client_args": {}}, ValueError, "out_dir"),
        ({"file_client_args": {}, "backend_args": {}, "out_dir": "x"}, ValueError, "old name"),
        ({"intervals": 3}, TypeError, "Did you mean 'interval'"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        LoggerHook(**options)


def test_a_whole_run_leaves_lines_of_the_reference(make_state: Make, train: Train, tmp_path: Path) -> None:
    state = make_state([LoggerHook(4)])
    train(state, every=10, metrics=lambda state: {"mIoU": float("nan"), "IoU": {"road": 0.5}})
    lines = (state.log_dir / "vis_data/scalars.json").read_text().splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [record["step"] for record in records] == [4, 8, 10, 10]
    assert list(records[0]) == ["lr", "data_time", "loss", "time", "iter", "epoch", "mode", "step"]
    assert records[-1] == {"mIoU": None, "IoU.road": 0.5, "epoch": 0, "iter": 10, "mode": "val", "step": 10}
    text = next(state.log_dir.glob("*.log")).read_text()
    assert re.search(r"Iter\(train\) \[ 4/10\]  lr: 1\.0000e-02  eta: \d:\d\d:\d\d  time: \d", text)
    assert "Iter(val) [10/10]    mIoU: nan  IoU.road: 0.5000" in text
