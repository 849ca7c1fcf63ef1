"""Every pair of (plain, DDP, compiled, both) x (save, resume), with averaged weights: the same keys, the same run."""

from __future__ import annotations

import shutil

import pytest
import torch
from helpers import drill
from helpers.drill import checkpoint_differences, differences, make_runner
from torch import nn

NETWORK = drill.network
WRAPS = {
    "plain": lambda net: net,
    "ddp": nn.parallel.DistributedDataParallel,
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "ddp round compiled": lambda net: nn.parallel.DistributedDataParallel(torch.compile(net, backend="eager")),
}
PLAN = {"val_dataloader": None, "interval": 4}


def train(work_dir, wrap, total, monkeypatch):
    monkeypatch.setattr(drill, "network", lambda: WRAPS[wrap](NETWORK()))
    make_runner(work_dir, total=total, strict_resume=True, **PLAN).train()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of a run of 4 steps with each wrapper, and of a plain one of 7."""
    distributed = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for wrap in WRAPS:
            train(folder / wrap, wrap, 4, monkeypatch)
        train(folder / "whole", "plain", 7, monkeypatch)
    yield folder
    distributed.destroy_process_group()


@pytest.mark.parametrize("wrap", WRAPS)
def test_no_prefix_leaks_into_a_file(saved, wrap):
    plain, found = (torch.load(saved / name / "iter_4.pth", weights_only=True) for name in ("plain", wrap))
    for key in ("state_dict", "ema_state_dict"):
        assert list(found[key]) == list(plain[key])
        assert differences(found[key], plain[key]) == []
    assert set(found["ema_state_dict"]) == {"steps", *(f"module.{name}" for name in NETWORK().state_dict())}


@pytest.mark.parametrize("source", WRAPS)
@pytest.mark.parametrize("target", WRAPS)
def test_each_goes_on_from_each(saved, tmp_path, source, target, monkeypatch):
    shutil.copytree(saved / source, tmp_path / "run")
    train(tmp_path / "run", target, 7, monkeypatch)
    assert checkpoint_differences(saved / "whole" / "iter_7.pth", tmp_path / "run" / "iter_7.pth") == []
