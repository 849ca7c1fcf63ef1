"""Where training waits for data, the log says so once, with what costs most."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from seg_runner import LogProcessor, MessageHub
from seg_runner.log import waiting
from seg_runner.log.waiting import DataWaits, about_waiting


def loader(workers: int = 2, batch: int = 4, **parts: float) -> Any:
    dataset = SimpleNamespace(seconds_of_a_sample=lambda: parts)
    return SimpleNamespace(num_workers=workers, batch_size=batch, dataset=dataset)


@pytest.fixture(autouse=True)
def all_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "seg_runner")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_it_is_said_once_and_not_for_the_first_line(caplog: pytest.LogCaptureFixture) -> None:
    waits = DataWaits()
    for data_time in (0.9, 0.61, 0.7, 0.8):
        waits.look({"time": 1.0, "data_time": data_time}, loader())
    assert len(said(caplog)) == 1
    assert said(caplog)[0].startswith("iterations wait 61 % of their time for data (0.610 of 1.000 s)")


@pytest.mark.parametrize(
    "values",
    [
        {"time": 1.0, "data_time": 0.19},
        {"time": 0.006, "data_time": 0.004},
        {"time": 1.0},
        {"data_time": 1.0},
        {"time": "1", "data_time": "1"},
    ],
)
def test_short_waits_and_runs_without_times_are_left_alone(caplog: pytest.LogCaptureFixture, values: Any) -> None:
    waits = DataWaits()
    for _ in range(5):
        waits.look(values, loader())
    assert said(caplog) == []


def test_the_part_that_costs_most_comes_first() -> None:
    parts = {"LoadImageFromFile": 0.012, "LoadAnnotations": 0.038, "RandomResize": 0.02, "RandomFlip": 0.001}
    text = about_waiting(0.2, 0.1, loader(**parts), 8)
    assert "of a sample's 71 ms these take most: LoadAnnotations 38, RandomResize 20, LoadImageFromFile 12;" in text
    assert text.endswith("num_workers=3 instead of 2 would shorten that (8 cores)")  # 4 x 71 ms in 100 ms


def test_workers_are_not_asked_for_where_there_are_no_cores() -> None:
    assert about_waiting(1.0, 0.9, loader(Read=0.5), 2).endswith("more workers than 2 do not help with 2 cores")
    text = about_waiting(1.0, 0.9, loader(workers=0), 2)
    assert text.endswith("num_workers=2 instead of 0 would shorten that (2 cores)")
    assert about_waiting(1.0, 0.9, [1, 2], 2) == "iterations wait 90 % of their time for data (0.900 of 1.000 s)"


def test_ranks_share_the_cores(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(waiting, "usable_cores", lambda: 16)
    waits = DataWaits()
    for _ in range(2):
        waits.look({"time": 1.0, "data_time": 0.9}, loader(workers=1), 8)
    assert said(caplog)[0].endswith("num_workers=2 instead of 1 would shorten that (2 cores)")


def test_more_ranks_than_cores_have_one_core_each(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "usable_cores", lambda: 2)
    waits = DataWaits()
    for _ in range(2):
        waits.look({"time": 1.0, "data_time": 0.9}, loader(workers=0), 4)
    assert said(caplog)[0].endswith("num_workers=1 instead of 0 would shorten that (1 core)")


def test_lines_of_training_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    hub = MessageHub()
    runner = SimpleNamespace(
        message_hub=hub, iter=0, epoch=0, max_iters=9, max_epochs=1, train_dataloader=loader(), val_dataloader=loader()
    )
    processor = LogProcessor(window_size=1, by_epoch=False)
    for mode in ("val", "train"):
        assert said(caplog) == []
        for step in range(3):
            hub.update_scalar(f"{mode}/time", 1.0)
            hub.update_scalar(f"{mode}/data_time", 0.5)
            processor.get_log_after_iter(runner, step, mode)
    assert [line[:41] for line in said(caplog)] == ["iterations wait 50 % of their time for da"]
