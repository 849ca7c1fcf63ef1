"""Hooks and optimizer wrappers in a run on several ranks, whole or in parts: the same run as on one process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from seg_runner import DefaultSampler, IoUMetric, Runner
from seg_runner.distributed.shards import is_sharded
from torch import nn
from torch.utils.data import Dataset

ADAMW = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1}


class Blocks(Dataset[Any]):
    """Images by number, bright where their class is; every pixel counts."""

    metainfo = {"classes": ("a", "b", "c")}

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        label = torch.randint(0, 3, (6, 6), generator=generator)
        return label.float().expand(3, 6, 6) + 0.5 * torch.randn(3, 6, 6, generator=generator), label


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(1, width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.norm(self.conv(image)).relu()


class Net(nn.Module):
    """A stem and a head round blocks; 5 is divided by neither 2 nor 4, and 3 is less than 4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 1)
        self.blocks = nn.ModuleList([Block(5), Block(5)])
        self.head = nn.Conv2d(5, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = self.stem(image)
        for block in self.blocks:
            image = block(image)
        return self.head(image)

    def get_layer_id(self, name: str) -> int:
        """How deep a parameter lies, for layer decay."""
        return {"stem": 0, "blocks": 1, "head": 2}[name.split(".")[0]]


class Norms:
    """A hook that notes the loss and the norm of the gradients of each step."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def after_train_iter(self, runner: Any, outputs: Mapping[str, Any]) -> None:
        norm = runner.optim_wrapper.grad_norm
        assert norm is None or not is_sharded(norm)
        self.found.append((float(outputs["loss"]), 0.0 if norm is None else float(norm)))


def make(folder: Path, iters: int, hooks: list[Any], wrapper: dict[str, Any], **more: Any) -> Runner:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    order = {"sampler": {"type": DefaultSampler}, "batch_size": 8 // world, "num_workers": 0}
    val = {"sampler": {"type": DefaultSampler, "shuffle": False}, "batch_size": 2, "num_workers": 0}
    return Runner(
        model=Net(),
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={"dataset": Blocks(24), **order},
        train_cfg={"max_iters": iters, "val_interval": 4},
        optim_wrapper={"type": "OptimWrapper", "optimizer": ADAMW, **wrapper},
        param_scheduler=[{"type": "PolyLR", "power": 0.9, "by_epoch": False}],
        val_dataloader={"dataset": Blocks(7), **val},
        val_evaluator=IoUMetric(num_classes=3),
        randomness={"seed": 3},
        hooks=hooks,
        default_hooks={"logger": {"type": "LoggerHook", "interval": 2}},
        **more,
    )


def train(
    folder: Path, iters: int = 8, wrapper: Mapping[str, Any] | None = None, hooks: Any = (), **more: Any
) -> dict[str, Any]:
    """Train on this rank, and return what each step and the files of the run have."""
    norms = Norms()
    runner = make(folder, iters, [norms, *hooks], dict(wrapper or {}), **more)
    runner.train()
    metrics = runner.val()  # after which rank 0 has written the file
    saved = torch.load(runner.work_dir / f"iter_{iters}.pth", weights_only=True)
    kept = {key: saved[key] for key in ("state_dict", "ema_state_dict", "optimizer", "grads") if key in saved}
    return {"metrics": metrics, "steps": runner.world.gather(norms.found), **kept}


def compare(one: Mapping[str, Any], other: Mapping[str, Any], rtol: float = 1e-5, atol: float = 2e-6) -> None:
    """Assert that two runs are one: the mean loss of the ranks, norms, weights, averages, state, metrics."""
    assert other["metrics"] == one["metrics"]
    steps = torch.tensor(other["steps"])
    assert (steps[:, :, 1] == steps[0, :, 1]).all()
    torch.testing.assert_close(steps.mean(0), torch.tensor(one["steps"][0]), rtol=1e-4, atol=1e-5)
    for key in one.keys() - {"metrics", "steps"}:
        close(other[key], one[key], key, rtol, atol)


def close(one: Any, other: Any, path: str, rtol: float, atol: float) -> None:
    """Assert that two trees are alike: numbers and tensors nearly, everything else exactly."""
    if isinstance(one, Mapping):
        assert list(one) == list(other), path
        for key in one:
            close(one[key], other[key], f"{path}.{key}", rtol, atol)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for number, pair in enumerate(zip(one, other, strict=True)):
            close(*pair, f"{path}[{number}]", rtol, atol)
    elif isinstance(one, torch.Tensor | float):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol, msg=lambda text: f"{path}: {text}")
    else:
        assert one == other, path


EMA = {"type": "EMAHook", "momentum": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "norm": {"wrapper": {"clip_grad": {"max_norm": 0.3}}, "hooks": [EMA]},
    "value": {"wrapper": {"clip_grad": {"type": "value", "clip_value": 0.01}}, "hooks": [{"type": "NanGuardHook"}]},
    "accumulation": {"wrapper": {"accumulative_counts": 3, "clip_grad": {"max_norm": 0.3}}, "iters": 8},
    "layer decay": {
        "wrapper": {
            "constructor": "LayerDecayOptimizerConstructor",
            "paramwise_cfg": {"num_layers": 2, "decay_rate": 0.5, "decay_type": "layer_wise"},
        },
        "channels_last": True,
        "hooks": [{"type": "NanGuardHook", "policy": "skip"}],
    },
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_run_in_parts_is_the_same_run(tmp_path: Path, strategy: str, case: str) -> None:
    options = CASES[case]
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", **options)
    for world in (2, 4) if case == "norm" else (2,):
        folder = tmp_path / f"r{world}"
        for each in on_ranks(world, folder, train, folder / "w", strategy=strategy, **options):
            compare(one, each)
