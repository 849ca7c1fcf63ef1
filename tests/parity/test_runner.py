"""The same config, seed and model under MMEngine and here: the same losses, learning rates and metrics.

Runs where MMEngine is installed. CPU, float32, `randomness.stream='mmengine'`; 200 iterations.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

for package in ("mmengine", "seg_registry", "seg_hooks", "seg_optim"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mmengine.evaluator import BaseMetric
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel

pytestmark = pytest.mark.filterwarnings("ignore")


class Noisy(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images with augmentation from python's, numpy's and torch's global generators."""

    def __init__(self, count: int = 24) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = torch.randn(count, 3, 6, 6, generator=generator)
        self.labels = torch.randint(0, 3, (count,), generator=generator)
        self.metainfo = {"classes": ("a", "b", "c")}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index] + 0.1 * torch.randn(3, 6, 6) + float(np.random.rand())
        return {"inputs": image, "data_samples": self.labels[index]}


class Model(BaseModel):
    """A convolution, a norm with buffers, dropout, an initialisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 3)
        self.norm = torch.nn.BatchNorm2d(5)
        self.drop = torch.nn.Dropout(0.2)
        self.head = torch.nn.Linear(5, 3)

    def init_weights(self) -> None:
        torch.nn.init.normal_(self.head.weight, std=0.1)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        if isinstance(inputs, list):
            inputs, data_samples = torch.stack(inputs), torch.stack(data_samples)
        out = self.head(self.drop(self.norm(self.conv(inputs)).relu()).mean((2, 3)))
        if mode == "loss":
            return {
                "loss_ce": torch.nn.functional.cross_entropy(out, data_samples),
                "acc": out.argmax(1).float().mean(),
            }
        return list(zip(out.argmax(1).tolist(), data_samples.tolist(), strict=True))


class Accuracy(BaseMetric):
    """Share of right answers, in percent."""

    default_prefix = "toy"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [float(guess == truth) for guess, truth in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"acc": 100.0 * float(np.mean(results))}


class Writes(Hook):
    """Writes down losses, learning rates and metrics, in either engine."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.metrics: list[tuple[int, int, float]] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append(float(outputs["loss"]))
        self.rates.append(float(runner.optim_wrapper.get_lr()["lr"][0]))

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.metrics.append((runner.epoch, runner.iter, float(metrics["toy/acc"])))


def config(loop: str, work_dir: Path, *, workers: int = 0) -> dict[str, Any]:
    by_epoch = loop == "epoch"
    length = {"max_epochs": 34, "val_interval": 5} if by_epoch else {"max_iters": 200, "val_interval": 60}
    loader = {"num_workers": workers, "batch_size": 4, "dataset": {"type": Noisy}, "persistent_workers": False}
    sampler = "DefaultSampler" if by_epoch else "InfiniteSampler"
    return {
        "model": {"type": Model},
        "work_dir": str(work_dir),
        "train_dataloader": {**loader, "sampler": {"type": sampler, "shuffle": True}},
        "val_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        "val_evaluator": {"type": Accuracy},
        "val_cfg": {"type": "ValLoop"},
        "train_cfg": {"by_epoch": by_epoch, **length},
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
        },
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 20},
            {"type": "PolyLR", "eta_min": 1e-4, "power": 0.9, "by_epoch": False, "begin": 20, "end": 200},
        ],
        "randomness": {"seed": 7},
        "experiment_name": f"{loop}_{workers}_{work_dir.name}",
        "log_level": "ERROR",
    }


@pytest.fixture(autouse=True)
def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMEngine asks for its version; no build of it imports beside the newest torch."""
    monkeypatch.setitem(sys.modules, "torchvision", None)


def by_name(value: Any) -> Any:
    """Classes as names, which is what MMEngine can write into its log."""
    if isinstance(value, dict):
        return {key: by_name(one) for key, one in value.items()}
    if isinstance(value, list):
        return [by_name(one) for one in value]
    return value.__name__ if isinstance(value, type) else value


def run_reference(cfg: dict[str, Any]) -> tuple[Writes, Any]:
    from mmengine.config import Config
    from mmengine.registry import DATASETS, METRICS, MODELS
    from mmengine.runner import Runner

    for registry, kind in ((MODELS, Model), (METRICS, Accuracy), (DATASETS, Noisy)):
        registry.register_module(module=kind, force=True)
    writes = Writes()
    runner = Runner.from_cfg(Config(by_name(cfg)))
    runner.register_hook(writes)
    runner.train()
    return writes, runner


def run_ours(cfg: dict[str, Any]) -> tuple[Writes, Any]:
    from seg_runner import Runner

    cfg = {**cfg, "randomness": {**cfg["randomness"], "stream": "mmengine"}}
    writes, runner = Writes(), Runner.from_cfg(cfg)
    runner.register_hook(writes)
    runner.train()
    return writes, runner


def changed(cfg: dict[str, Any], name: str) -> dict[str, Any]:
    wrapper = dict(cfg["optim_wrapper"])
    if name in ("accumulation", "everything"):
        wrapper["accumulative_counts"] = 3
    if name in ("clipping", "everything"):
        wrapper["clip_grad"] = {"max_norm": 0.5}
    cfg = {**cfg, "optim_wrapper": wrapper}
    if name in ("ema", "everything"):
        cfg["custom_hooks"] = [{"type": "EMAHook", "momentum": 0.05, "begin_iter": 10}]
    return cfg


@pytest.mark.parametrize("what", ["plain", "accumulation", "clipping", "ema", "everything", "workers"])
@pytest.mark.parametrize("loop", ["iter", "epoch"])
def test_the_same_run(loop: str, what: str, tmp_path: Path) -> None:
    workers = 2 if what == "workers" else 0
    reference, one = run_reference(changed(config(loop, tmp_path / "reference", workers=workers), what))
    ours, two = run_ours(changed(config(loop, tmp_path / "ours", workers=workers), what))
    assert len(ours.losses) >= 200
    assert ours.losses == reference.losses
    assert ours.rates == reference.rates
    assert ours.metrics == reference.metrics
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name]), name
