"""Config -> train -> kill -> resume, as commands in real processes: the end is the same as without the kill."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.command import seg

EVERYTHING = """
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.003, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    accumulative_counts=2,
    paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise', num_layers=6),
    constructor='LearningRateDecayOptimizerConstructor')
custom_hooks = [dict(type='EMAHook', momentum=0.01, begin_iter=2, priority='NORMAL')]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=5, save_best='mIoU'),
    logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False))
"""
# A hook that kills its own process in the middle of a run: no time limit decides where.
KILLER = """
import os, signal

class Killer:
    def __init__(self, at, name):
        self.at, self.name = at, name

    def after_train_iter(self, runner):
        if runner.iter + 1 == self.at and not os.path.exists('killed'):
            open('killed', 'w').close()
            os.kill(os.getpid(), getattr(signal, self.name))
"""


def weights(path: Path) -> dict[str, Any]:
    state = torch.load(path, weights_only=True)
    return {**state["state_dict"], **state["ema_state_dict"]}


def losses(work_dir: Path) -> dict[int, float]:
    """The loss of each iteration, over all starts of a run."""
    found: dict[int, float] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if "loss" in record and record.get("mode", "train") == "train":
                found[record["iter"]] = record["loss"]
    return found


def killed_config(write_config: Callable[..., Path], tmp_path: Path, name: str, at: int, workers: int) -> Path:
    (tmp_path / "killer.py").write_text(KILLER, encoding="utf-8")
    imports = "custom_imports = dict(imports=['killer'])"
    hook = f"custom_hooks.append(dict(type='killer.Killer', at={at}, name='{name}'))"
    return write_config(f"{EVERYTHING}\n{imports}\n{hook}", iters=12, workers=workers, name="killed")


@pytest.mark.parametrize(("name", "workers"), [("SIGKILL", 0), ("SIGTERM", 2)])
def test_a_run_that_was_killed_ends_as_one_that_was_not(
    write_config: Callable[..., Path], tmp_path: Path, name: str, workers: int
) -> None:
    seg("train", str(write_config(EVERYTHING, iters=12, workers=workers)), "--work-dir", "whole", cwd=tmp_path)
    config = killed_config(write_config, tmp_path, name, at=8, workers=workers)
    words: Sequence[str] = ("train", str(config), "--work-dir", "parts")
    first = seg(*words, cwd=tmp_path, code={"SIGKILL": -signal.SIGKILL, "SIGTERM": 143}[name])
    if name == "SIGTERM":
        assert "--resume" in first.stderr
        assert (tmp_path / "parts" / "iter_8.pth").exists()
    seg(*words, "--resume", cwd=tmp_path)
    one, two = weights(tmp_path / "whole" / "iter_12.pth"), weights(tmp_path / "parts" / "iter_12.pth")
    assert one.keys() == two.keys()
    assert [key for key in one if not torch.equal(one[key], two[key])] == []
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
