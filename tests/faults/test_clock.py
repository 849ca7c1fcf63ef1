"""A clock that jumps back by a day, in a run and between its parts: the same run, no negative times."""

from __future__ import annotations

import json
import time
from pathlib import Path

from helpers import drill
from helpers.drill import KillAt, checkpoint_differences, in_child, log_lines, make_runner
from seg_runner import find_resumable

DAY = 86_400


class JumpsBack:
    """Sets this process's clock back by a day, in the step with this number."""

    priority = 0

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner):
        if runner.iter == self.iteration:
            set_back()


def set_back() -> None:
    now, local = time.time, time.localtime
    time.time = lambda: now() - DAY
    time.localtime = lambda seconds=None: local(time.time() if seconds is None else seconds)


def train(work_dir: Path, jump: int | None = None, kill: KillAt | None = None) -> None:
    """A run that is killed, or goes to its end; `jump=-1`: with a clock that is wrong from the beginning."""
    if jump == -1:
        set_back()
    runner = make_runner(work_dir, kill=kill)
    if jump is not None and jump >= 0:
        runner.register_hook(JumpsBack(jump))
    runner.train()


def test_clocks_that_jump_back_change_nothing(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert in_child(drill.train, whole) == 0
    assert in_child(train, cut, jump=8, kill=KillAt(9)) == -9, (tmp_path / "cut.log").read_text()
    assert in_child(train, cut, jump=-1, kill=KillAt(16)) == -9, (tmp_path / "cut.log").read_text()
    assert find_resumable(cut) == cut / "iter_14.pth"
    assert in_child(train, cut) == 0, (tmp_path / "cut.log").read_text()
    assert checkpoint_differences(whole / "iter_20.pth", cut / "iter_20.pth") == []
    assert log_lines(whole) == log_lines(cut)
    lines = [line for file in cut.glob("*/vis_data/scalars.json") for line in file.read_text().splitlines()]
    times = [value for record in map(json.loads, lines) for key, value in record.items() if key in drill.TIMES]
    assert len(times) > 10
    assert min(times) >= 0
