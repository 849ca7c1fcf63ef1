"""One model on several ranks by DDP: the same run as on one process with the same global batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from helpers.ranks import on_ranks
from seg_runner import DefaultSampler, IoUMetric, Runner
from torch import nn
from torch.utils.data import Dataset


class Blocks(Dataset[Any]):
    """Images of one class each, by number; every pixel counts."""

    metainfo = {"classes": ("a", "b", "c")}

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        label = torch.randint(0, 3, (6, 6), generator=generator)
        return label.float().expand(3, 6, 6) + 0.5 * torch.randn(3, 6, 6, generator=generator), label


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


def train(folder: Path, global_batch: int = 8, size: int = 24, **more: Any) -> dict[str, Any]:
    """Train on this rank, and return the weights, the files of the run, and the metric."""
    net, world = network(), int(os.environ.get("WORLD_SIZE", "1"))
    data, held = Blocks(size), Blocks(7)
    order = {"sampler": {"type": DefaultSampler}, "batch_size": global_batch // world, "num_workers": 0}
    val = {"sampler": {"type": DefaultSampler, "shuffle": False}, "batch_size": 2, "num_workers": 0}
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={"dataset": data, **order},
        train_cfg={"max_iters": 12, "val_interval": 6},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        val_dataloader={"dataset": held, **val},
        val_evaluator=IoUMetric(num_classes=3),
        randomness={"seed": 3},
        log_interval=3,
        **more,
    )
    runner.train()
    return {
        "weights": net.state_dict(),
        "metrics": runner.val(),
        "names": list(torch.load(folder / "iter_12.pth", weights_only=True)["state_dict"]),
        "files": sorted(path.name for path in runner.log_dir.iterdir()),
    }


def test_two_and_four_ranks_train_as_one(tmp_path):
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1")
    for world in (2, 4):
        found = on_ranks(world, tmp_path / f"r{world}", train, tmp_path / f"w{world}")
        for each in found:
            torch.testing.assert_close(each["weights"], one["weights"], rtol=1e-5, atol=1e-7)
            assert each["metrics"] == one["metrics"]
            assert each["names"] == one["names"]
        logs = [name for name in found[0]["files"] if name.endswith(".log")]
        assert (len(logs), sum("_rank" in name for name in logs)) == (world, world - 1)
