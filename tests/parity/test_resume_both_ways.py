"""MMEngine goes on from a folder of ours, and we from one of MMEngine's, to the same weights and the same files."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import Runner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if importlib.util.find_spec("mmengine") is None:
    pytest.skip("mmengine is not installed here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")
SCORES = [3.0, 1.0, 5.0, 4.0]
"""What the metric gives at steps 3, 6, 9 and 12: the best file changes before and after the stop."""


@pytest.fixture(autouse=True)
def _no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no build of it for this torch, and its import fails in a way that mmengine does not expect.

    MMEngine 0.10.7 reads its own files only where torch is told to run what a file holds.
    """
    if "torchvision" not in sys.modules:
        monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


def model_class() -> Any:
    """A tiny model of MMEngine's kind."""
    from mmengine.model import BaseModel

    class Tiny(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)
            self.norm = nn.BatchNorm2d(2)

        def forward(self, image: Any, target: Any, mode: str) -> Any:
            error = (self.norm(self.conv(image)).mean(1) - target).square().mean()
            return {"loss": error} if mode == "loss" else [{"error": float(error)}]

    return Tiny


def several() -> Any:
    """A model with two optimizers, trained one after the other, as generators and discriminators are."""

    class Two(model_class()):  # type: ignore[misc]
        def train_step(self, data: Any, optim_wrapper: Any) -> Any:
            image, target = self.data_preprocessor(data, True)
            for name in ("conv", "norm"):
                loss = self(image, target, mode="loss")["loss"]
                optim_wrapper[name].update_params(loss)
            return {"loss": loss.detach()}

    return Two


def metric(scores: Iterator[float]) -> Any:
    """A metric that gives the next of these scores."""
    from mmengine.evaluator import BaseMetric

    class Told(BaseMetric):
        def process(self, data_batch: Any, data_samples: Any) -> None:
            self.results.append(1)

        def compute_metrics(self, results: Any) -> dict[str, float]:
            return {"mIoU": next(scores)}

    return Told()


ADAM = {"type": "Adam", "lr": 0.1, "weight_decay": 0.01}
GROUPS = {"paramwise_cfg": {"norm_decay_mult": 0.0}}
POLY = {"type": "PolyLR", "by_epoch": False, "begin": 0, "end": 12}


def wrappers(kind: str, ours: bool, model: Any) -> dict[str, Any]:
    """The optimizer of a case, as that engine takes it, and its schedulers."""
    if kind != "several":
        return {"optim_wrapper": {"type": "OptimWrapper", "optimizer": ADAM, **GROUPS}, "param_scheduler": POLY}
    if ours:
        from seg_optim import OptimWrapper, OptimWrapperDict
    else:
        from mmengine.optim import OptimWrapper, OptimWrapperDict
    made = {
        "conv": OptimWrapper(torch.optim.Adam(model.conv.parameters(), lr=0.1)),
        "norm": OptimWrapper(torch.optim.SGD(model.norm.parameters(), lr=0.2, momentum=0.9)),
    }
    return {"optim_wrapper": OptimWrapperDict(**made), "param_scheduler": {"conv": [POLY], "norm": [POLY]}}


def train(kind: str, ours: bool, work_dir: Path, steps: int, resume: bool, scores: Iterator[float]) -> Any:
    """Train to so many steps of 12."""
    torch.manual_seed(0)
    model = (several() if kind == "several" else model_class())()
    by_epoch = kind == "epochs"
    count = 8 if by_epoch else 24  # at the end of its data an iteration loop of MMEngine sleeps
    loader = DataLoader(TensorDataset(torch.randn(count, 1, 2, 2), torch.randn(count, 2, 2)), 2)
    checkpoint = {"type": "CheckpointHook", "interval": 1 if by_epoch else 3, "by_epoch": by_epoch}
    loop = {"by_epoch": True, "max_epochs": steps // 4} if by_epoch else {"by_epoch": False, "max_iters": steps}
    cfg: dict[str, Any] = {
        "model": model,
        "work_dir": str(work_dir),
        "train_dataloader": loader,
        "train_cfg": {**loop, "val_interval": 1 if by_epoch else 3},
        "val_dataloader": loader,
        "val_cfg": {},
        "val_evaluator": [metric(scores)],
        "default_hooks": {"checkpoint": {**checkpoint, "save_best": "mIoU", "max_keep_ckpts": 2}},
        "custom_hooks": [{"type": "EMAHook"}] if kind == "ema" else [],
        "randomness": {"seed": 3},
        "default_scope": "mmengine",
        "experiment_name": f"{work_dir.parent.name}_{work_dir.name}_{steps}",
        "resume": resume,
        **wrappers(kind, ours, model),
    }
    if ours:
        cfg["randomness"]["stream"] = "mmengine"
        runner: Any = Runner.from_cfg({**cfg, "skip_checks": True})
    else:
        from mmengine.runner import Runner as Reference

        runner = Reference(**cfg)
    runner.train()
    return runner


def weights(runner: Any) -> list[list[float]]:
    return [value.double().flatten().tolist() for value in runner.model.state_dict().values()]


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pth"))


@pytest.mark.parametrize("kind", ["plain", "ema", "several", "epochs"])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_other_engine_goes_on_to_the_same_weights_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, first: str
) -> None:
    """From another current folder; in that one lies a file of a best checkpoint's name, which nothing may touch."""
    stop = 8 if kind == "epochs" else 6
    bystander = tmp_path / "here" / ("best_mIoU_epoch_2.pth" if kind == "epochs" else "best_mIoU_iter_6.pth")
    bystander.parent.mkdir()
    bystander.write_text("another run's")
    monkeypatch.chdir(bystander.parent)
    ends = {}
    for name, legs in {"mixed": (first == "ours", first != "ours"), "reference": (False, False)}.items():
        scores = iter(SCORES)
        train(kind, legs[0], tmp_path / name, stop, resume=False, scores=scores)
        ends[name] = train(kind, legs[1], tmp_path / name, 12, resume=True, scores=scores)
    assert weights(ends["mixed"]) == weights(ends["reference"])
    assert ends["mixed"].iter == 12
    assert kept(tmp_path / "mixed") == kept(tmp_path / "reference")
    assert bystander.read_text() == "another run's"


def test_a_best_file_of_the_step_where_we_stopped_is_unknown_to_mmengine(tmp_path: Path) -> None:
    """Ours writes the checkpoint of a step before its validation, and not again for a new best."""
    scores = iter([1.0, 3.0, 5.0, 4.0])
    train("plain", True, tmp_path, 6, resume=False, scores=scores)
    train("plain", False, tmp_path, 12, resume=True, scores=scores)
    assert kept(tmp_path) == ["best_mIoU_iter_6.pth", "best_mIoU_iter_9.pth", "iter_12.pth", "iter_9.pth"]


def test_a_moved_folder_of_ours_goes_on_with_what_lies_in_it(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 1.0, 5.0, 4.0])  # the validation of step 6 is made again
    train("plain", True, tmp_path / "first", 6, resume=False, scores=scores)
    os.rename(tmp_path / "first", tmp_path / "second")
    resumed = train("plain", True, tmp_path / "second", 12, resume=True, scores=scores)
    assert resumed.iter == 12
    assert kept(tmp_path / "second") == ["best_mIoU_iter_9.pth", "iter_12.pth", "iter_9.pth"]


def test_mmengine_goes_on_from_the_middle_of_an_epoch_of_ours_as_from_one_of_its_own(tmp_path: Path) -> None:
    ends = []
    for name, ours in (("mixed", True), ("reference", False)):
        scores = itertools.chain(SCORES, itertools.repeat(0.0))
        train("plain", ours, tmp_path / name, 6, resume=False, scores=scores)  # an epoch has 4 steps
        ends.append(train("epochs", False, tmp_path / name, 12, resume=True, scores=scores))
    assert weights(ends[0]) == weights(ends[1])
    assert ends[0].iter == ends[1].iter > 12


@pytest.mark.parametrize("kind", ["plain", "several"])
def test_converted_files_go_on_in_the_other_engine(kind: str, tmp_path: Path) -> None:
    from seg_engine.migrate.checkpoints import convert

    ends = {}
    for name, legs, to in (
        ("there", (True, False), "mmengine"),
        ("here", (False, True), "seg"),
        ("reference", (False, False), None),
    ):
        scores = itertools.chain(SCORES, itertools.repeat(0.0))
        train(kind, legs[0], tmp_path / name, 6, resume=False, scores=scores)
        if to is not None:
            convert(tmp_path / name / "iter_6.pth", to, tmp_path / "converted.pth")
            torch.load(tmp_path / "converted.pth", weights_only=True)
            os.replace(tmp_path / "converted.pth", tmp_path / name / "iter_6.pth")
        ends[name] = train(kind, legs[1], tmp_path / name, 12, resume=True, scores=scores)
    assert weights(ends["there"]) == weights(ends["here"]) == weights(ends["reference"])
