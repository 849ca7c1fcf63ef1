"""A resume whose config has other schedulers than the checkpoint: its rates are those of the config, and it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import config
from seg_runner import Runner

POLY = {"type": "PolyLR", "power": 0.9, "by_epoch": False, "end": 12}
WARM = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 5}
STEP = {"type": "StepLR", "step_size": 2, "by_epoch": False}
MOMENTUM = {"type": "LinearMomentum", "start_factor": 0.5, "by_epoch": False, "end": 8}


def trained(work_dir: Path, schedulers: list[dict[str, Any]], most: int, **changes: Any) -> Runner:
    optim = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9}}
    optim["paramwise_cfg"] = {"custom_keys": {"head": {"lr_mult": 10.0}}}
    loop = {"type": "IterBasedTrainLoop", "max_iters": most, "val_interval": 9}
    cfg = config(work_dir, param_scheduler=schedulers, optim_wrapper=optim, train_cfg=loop, custom_hooks=[], **changes)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def settings(runner: Runner) -> list[tuple[float, float]]:
    return [(group["lr"], group["momentum"]) for group in runner.optim_wrapper.param_groups]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ([POLY], [WARM, POLY]),
        ([WARM, POLY], [POLY]),
        ([POLY], []),
        ([{**POLY, "end": 3}], []),
        ([POLY], [WARM]),
        ([WARM], [STEP]),
        ([WARM, POLY], [POLY, WARM]),
        ([POLY, MOMENTUM], [POLY]),
        ([POLY], [POLY, MOMENTUM]),
    ],
)
def test_the_rates_are_those_of_a_fresh_run(
    tmp_path: Path, before: list[Any], now: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = trained(tmp_path / "fresh", now, 6)
    trained(tmp_path / "run", before, 4)
    capsys.readouterr()
    resumed = trained(tmp_path / "run", now, 6, resume=True)
    assert settings(resumed) == [pytest.approx(pair) for pair in settings(fresh)]
    said = capsys.readouterr().out
    assert "WARNING - schedulers: " in said
    assert "the learning rate" in said


def test_the_same_schedulers_are_restored_without_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "run", [WARM, POLY, MOMENTUM], 4)
    trained(tmp_path / "run", [WARM, POLY, MOMENTUM], 6, resume=True)
    assert "WARNING - schedulers: " not in capsys.readouterr().out
