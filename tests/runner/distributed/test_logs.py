"""What is logged on several ranks: means over all of them, in one exchange per log point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from helpers.ranks import on_ranks
from runner.distributed.test_signals import lines, train
from seg_runner.distributed.world import World
from seg_runner.log.across_ranks import ROOM, AcrossRanks


class Tells:
    """Writes scalars that differ from rank to rank, and one that only rank 1 has."""

    priority = "VERY_HIGH"

    def after_train_iter(self, runner: Any) -> None:
        scalars = {"train/loss_a": float(runner.rank + 1), "train/data_time": 10.0 - runner.rank}
        if runner.rank == 1:
            scalars["train/loss_own"] = float("nan") if runner.iter == 7 else 5.0
        runner.message_hub.update_scalars(scalars)


class Counts:
    """Counts the exchanges of the log points, by torch's own profiler."""

    def __init__(self) -> None:
        self.found: list[list[str]] = []

    def before_train(self, runner: Any) -> None:
        make = runner.log_record

        def log_record(*args: Any, **options: Any) -> Any:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                made = make(*args, **options)
            names = [event.key for event in profile.key_averages() for _ in range(event.count)]
            self.found.append([name for name in names if name.startswith("gloo:")])
            return made

        runner.log_record = log_record


def logged(folder: Path) -> list[list[str]]:
    counts = Counts()
    train(folder, max_iters=12, hooks=(Tells(), counts), log_interval=3)
    return counts.found


def rows(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_one_exchange_for_each_log_point(tmp_path):
    found = on_ranks(2, tmp_path / "r", logged, tmp_path / "w")
    for counts in found:
        assert counts == [["gloo:all_gather"]] * 4
    first, *_ = rows(tmp_path / "w")
    assert (first["loss_a"], first["lr"]) == (1.5, 0.1)
    assert first["data_time"] > 5.0, "half of the 10 s of rank 0, which is the slower one"
    text = [line for line in lines(tmp_path / "w", 0).splitlines() if "Iter(train) [ 3/12]" in line]
    assert "loss_a: 1.5000" in text[0]
    assert "trained by ddp)" in lines(tmp_path / "w", 0)
    for rank in (0, 1):
        said = lines(tmp_path / "w", rank)
        assert said.count("iteration 8: a loss of rank 1 is not finite, for the first time") == 1
    assert "loss_own: nan" in lines(tmp_path / "w", 1)


def test_more_values_than_there_is_room_for_stay_as_they_are():
    class Two(World):
        def rows(self, row: Any) -> Any:
            other = [value + (1.0 if place > 1 and place % 2 else 0.0) for place, value in enumerate(row)]
            return [list(row), other]

    values = {f"train/loss_{number:03}": 1.0 for number in range(ROOM + 2)}
    reduced, memory = AcrossRanks(Two(0, 2)).reduce(values, 7)
    assert memory == 7
    assert sorted(reduced.values()) == [1.0] * 2 + [1.5] * ROOM
