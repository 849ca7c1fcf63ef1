"""Processes killed with SIGKILL at random moments, a few in each run of the tests; `./run soak` makes many."""

from __future__ import annotations

from helpers.kills import kill_during_saves, kill_during_training


def test_kills_during_saves_leave_whole_files_only(tmp_path, draw, request):
    kills = request.config.getoption("saves", 20)
    counts = kill_during_saves(tmp_path / "saves", kills, draw)
    print(f"saves: {counts['kills']} kills, {counts['in the middle']} in the middle of a save: whole")
    assert counts["kills"] == kills


def test_kills_in_training_change_nothing(tmp_path, draw, request):
    kills = request.config.getoption("kills", 4)
    counts = kill_during_training(tmp_path / "train", kills, draw, total=40)
    print(f"training: {counts['kills']} kills in {counts['runs']} runs: equal bit for bit")
    assert counts["kills"] == kills
