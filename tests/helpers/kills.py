"""Kills at random moments: of a process that does nothing but save, and of a run in training."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import torch
from helpers.drill import Child, checkpoint_differences, in_child, log_lines, train
from seg_runner import find_resumable, read_checkpoint
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.files import clean_leftovers

SIZES = (10, 1_000, 100_000, 1_000_000, 8_000_000)
"""Elements of the tensor that is saved."""


def content(iteration: int, size: int) -> dict:
    """A checkpoint that can be checked from its own number alone."""
    meta = {"iter": iteration, "epoch": 0, "run_id": "kills", "size": size}
    return {"meta": meta, "state_dict": {"w": torch.full((size,), float(iteration))}, "optimizer": {"state": {}}}


def save_for_ever(folder: Path, size: int, beside: bool, start: int) -> None:
    """Save one checkpoint after the other, keeping three."""
    torch.set_num_threads(1)
    saver = CheckpointSaver(async_save=beside)
    for iteration in range(start, start + 100_000):
        saver.save(folder / f"iter_{iteration}.pth", content(iteration, size))
        (folder / f"iter_{iteration - 3}.pth").unlink(missing_ok=True)


def kill_during_saves(folder: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Kill a saving process `kills` times; after each, every file under a final name must be whole.

    Returns:
        How many kills left a temporary file behind (they hit the middle of a save), and how many were made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"kills": 0, "in the middle": 0}
    write_checkpoint(folder / "iter_1.pth", content(1, 10))
    while counts["kills"] < kills:
        newest = _newest(folder)
        child = Child(save_for_ever, folder, draw.choice(SIZES), draw.random() < 0.3, newest + 1)
        _kill_after(child, draw.uniform(0.0, 0.15))
        counts["kills"] += 1
        counts["in the middle"] += bool(clean_leftovers(folder))
        assert _newest(folder) >= newest, "a checkpoint that was there is lost"
        for path in folder.glob("*.pth"):
            _check(path)
    return counts


def _newest(folder: Path) -> int:
    path = find_resumable(folder)
    assert path is not None, "nothing left to resume from"
    return int(read_checkpoint(path)["meta"]["iter"])


def _check(path: Path) -> None:
    found = read_checkpoint(path)
    expected = content(found["meta"]["iter"], found["meta"]["size"])
    assert torch.equal(found["state_dict"]["w"], expected["state_dict"]["w"]), path


def _kill_after(child: Child, seconds: float) -> bool:
    """SIGKILL after a while; whether the child was still there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.code is not None:
            assert child.code == 0, "the child failed by itself"
            return False
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return True


def kill_during_training(folder: Path, kills: int, draw: random.Random, total: int = 60) -> dict[str, int]:
    """Kill a run until it was killed `kills` times or is through, then compare it with one that was never stopped."""
    workers = [{"workers": 2}, {"workers": 4}, {"workers": 1, "persistent": True}, {"workers": 4, "persistent": True}]
    plans = [{"workers": 0}, {"async_save": True}, *workers]
    fixed = {"total": total, "accumulate": 3, "sampler": "infinite", "interval": 4}
    whole = folder / "whole"
    folder.mkdir(parents=True, exist_ok=True)
    assert in_child(train, whole, **fixed) == 0, (folder / "whole.log").read_text()[-3000:]
    counts = {"kills": 0, "runs": 0}
    while counts["kills"] < kills:
        cut = folder / f"cut{counts['runs']}"
        counts["runs"] += 1
        alive = True
        while alive and counts["kills"] < kills:
            child = Child(train, cut, **fixed, **draw.choice(plans))
            alive = _kill_after(child, draw.uniform(0.05, 0.8))
            counts["kills"] += alive
        assert in_child(train, cut, **fixed) == 0, cut.with_suffix(".log").read_text()[-3000:]
        name = f"iter_{total}.pth"
        found = checkpoint_differences(whole / name, cut / name)
        assert not found, found[:5]
        assert log_lines(whole) == log_lines(cut)
    return counts
