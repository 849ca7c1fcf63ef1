"""MMEngine goes on from a checkpoint of ours, and we from one of MMEngine's, to the same weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, EMAHook, ParamSchedulerHook, RuntimeInfoHook
from seg_optim import PolyLR, build_optim_wrapper
from seg_runner import Runner
from torch.utils.data import DataLoader, TensorDataset

if importlib.util.find_spec("mmengine") is None:
    pytest.skip("mmengine is not installed here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")
OPTIM = {
    "optimizer": {"type": "Adam", "lr": 0.1, "weight_decay": 0.01},
    "paramwise_cfg": {"norm_decay_mult": 0.0},
}


@pytest.fixture(autouse=True)
def _no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no build of it for this torch, and its import fails in a way that mmengine does not expect."""
    if "torchvision" not in sys.modules:
        monkeypatch.setitem(sys.modules, "torchvision", None)


def parts() -> tuple[Any, Any]:
    """A tiny model of MMEngine's kind, and its loader."""
    from mmengine.model import BaseModel
    from torch import nn

    class Tiny(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)
            self.norm = nn.BatchNorm2d(2)

        def forward(self, image: Any, target: Any, mode: str) -> Any:
            return {"loss": (self.norm(self.conv(image)).mean(1) - target).square().mean()}

    torch.manual_seed(0)
    return Tiny(), DataLoader(TensorDataset(torch.randn(8, 1, 2, 2), torch.randn(8, 2, 2)), 2)


def theirs(work_dir: Path, iterations: int, resume: bool = False) -> Any:
    """The run under MMEngine."""
    from mmengine.runner import Runner as Reference

    model, loader = parts()
    return Reference(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg={"by_epoch": False, "max_iters": iterations},
        optim_wrapper=dict(OPTIM),
        param_scheduler={"type": "PolyLR", "by_epoch": False, "begin": 0, "end": 12},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 6, "by_epoch": False}},
        custom_hooks=[{"type": "EMAHook"}],
        randomness={"seed": 3},
        experiment_name=f"{work_dir.name}_{iterations}_{resume}",
        resume=resume,
    )


def ours(work_dir: Path, iterations: int, resume: Any = False) -> Runner:
    """The same run here."""
    model, loader = parts()
    wrapper = build_optim_wrapper(model, dict(OPTIM))
    hooks = [RuntimeInfoHook(), ParamSchedulerHook(), CheckpointHook(interval=6, by_epoch=False), EMAHook()]
    return Runner(
        model=model,
        work_dir=work_dir,
        train_dataloader=loader,
        train_cfg={"by_epoch": False, "max_iters": iterations},
        optim_wrapper=wrapper,
        param_scheduler=PolyLR(wrapper, by_epoch=False, begin=0, end=12),
        hooks=hooks,
        randomness={"seed": 3, "stream": "mmengine"},
        resume=resume,
        skip_checks=True,
    )


def farthest(one: Any, other: Any) -> float:
    """Largest difference of two models' weights."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def test_mmengine_goes_on_from_our_file(tmp_path: Path) -> None:
    ours(tmp_path / "run", 6).train()
    (tmp_path / "run" / "last_checkpoint").write_text(str(tmp_path / "run" / "iter_6.pth"))
    resumed = theirs(tmp_path / "run", 12, resume=True)
    resumed.train()
    assert resumed.iter == 12
    whole = ours(tmp_path / "whole", 12)
    whole.train()
    assert farthest(resumed.model, whole.model) < 1e-5


def test_we_go_on_from_a_file_of_mmengine(tmp_path: Path) -> None:
    theirs(tmp_path / "run", 6).train()
    resumed = ours(tmp_path / "run", 12, resume=str(tmp_path / "run" / "iter_6.pth"))
    resumed.train()
    assert resumed.iter == 12
    whole = ours(tmp_path / "whole", 12)
    whole.train()
    assert farthest(resumed.model, whole.model) < 1e-4
