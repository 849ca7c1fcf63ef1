"""Schedulers, wrappers, constructors and averages of projects: their checkpoints go on here, and in MMEngine."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

for package in ("mmengine", "seg_registry", "seg_hooks", "seg_optim", "seg_vis"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from helpers.user_projects import PROJECTS, TinyDataset, differences, run_project

pytestmark = pytest.mark.filterwarnings("ignore")
KEYS = ("losses", "rates", "weights", "facts")
HALF = {"type": "IterBasedTrainLoop", "max_iters": 3, "val_interval": 10}
WHOLE = {**HALF, "max_iters": 6}
SAVES = {
    "logger": {"interval": 2, "log_metric_by_epoch": False},
    "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 3},
}


@pytest.fixture(autouse=True)
def no_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither engine's checkpoint has MMEngine's random numbers, so nothing may draw; see test_resume_both_ways."""
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, value: value)
    sample = lambda self, index: {"inputs": self.images[index], "data_samples": self.labels[index]}
    monkeypatch.setattr(TinyDataset, "__getitem__", sample)


def left(name: str, engine: str, folder: Path, loop: dict[str, Any], checkpoint: Path | None = None) -> dict[str, Any]:
    """Run a project to the end of a loop, perhaps from a checkpoint."""
    resume = {} if checkpoint is None else {"resume": True, "load_from": str(checkpoint)}
    found = run_project(PROJECTS / f"{name}.py", engine, folder, train_cfg=loop, default_hooks=SAVES, **resume)[1]
    return {key: found[key] for key in KEYS}


SOME = ["optim/warm_cosine_lr", "optim/schedules_by_optimizer", "models/own_average"]
MORE = ["optim/two_optimizers", "optim/amp_wrapper", "optim/constructor_add_params", "optim/own_optimizer"]


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(name, marks=pytest.mark.whole) for name in MORE)])
def test_a_project_goes_on_from_the_checkpoint_of_either_engine(name: str, tmp_path: Path) -> None:
    engines = ("mmengine", "ours")
    for engine in engines:
        left(name, engine, tmp_path / engine, HALF)
    files = {engine: tmp_path / engine / "work" / "iter_3.pth" for engine in engines}
    there = left(name, "mmengine", tmp_path / "there", WHOLE, files["mmengine"])
    for engine, checkpoint in (("ours", "mmengine"), ("mmengine", "ours")):
        here = left(name, engine, tmp_path / f"{engine}_from_{checkpoint}", WHOLE, files[checkpoint])
        assert not differences(there, here), f"{engine} from the checkpoint of {checkpoint}"
    whole = left(name, "ours", tmp_path / "whole", WHOLE)
    again = left(name, "ours", tmp_path / "again", WHOLE, files["ours"])
    assert again["losses"] == whole["losses"][3:]
    assert again["rates"] == whole["rates"][3:]
    assert not differences(whole["weights"], again["weights"])
