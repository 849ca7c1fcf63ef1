"""Processes killed with SIGKILL at random moments, a few in each run of the tests; `./run soak` makes many."""

from __future__ import annotations

import random

from _kills import kill_during_saves, kill_during_training


def test_kills_during_saves_leave_whole_files_only(tmp_path):
    counts = kill_during_saves(tmp_path / "saves", 20, random.Random(1))
    assert counts["kills"] == 20


def test_kills_in_training_change_nothing(tmp_path):
    counts = kill_during_training(tmp_path / "train", 4, random.Random(2), total=40)
    assert counts["kills"] == 4
