"""Accumulation by our optimizer wrapper over batches that do not divide by the ranks: as on one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from seg_runner import LogitsModel, Runner
from torch import nn

from tests.runner.distributed.test_ddp import Blocks, network


def accumulate(folder: Path, size: int, **more: Any) -> dict[str, torch.Tensor]:
    """Train two epochs of three batches, of which two make an update; return the weights."""
    net, world, data = network(), int(os.environ.get("WORLD_SIZE", "1")), Blocks(size)
    virtual = more.get("randomness", {}).get("ranks", world)
    runner = Runner(
        model=LogitsModel(net, nn.CrossEntropyLoss()),
        work_dir=folder,
        train_dataloader={"dataset": data, "batch_size": 8 // virtual, "num_workers": 0},
        train_cfg={"max_epochs": 2, "by_epoch": True},
        optim_wrapper={"optimizer": {"type": torch.optim.SGD, "lr": 0.1}, "accumulative_counts": 2},
        **{"randomness": {"seed": 3}, **more},
    )
    runner.train()
    weights = net.state_dict()
    return {name: one.full_tensor() if hasattr(one, "full_tensor") else one for name, one in weights.items()}


@pytest.mark.parametrize("more", [{}, {"strategy": "fsdp"}, {"randomness": {"seed": 3, "world": "exact", "ranks": 4}}])
def test_a_last_batch_that_does_not_divide_counts_as_on_one_process(tmp_path: Path, more: dict[str, Any]) -> None:
    """Of 21 samples ranks have 2, 1, 1 and 1 in the last batch, and of 17 one of two has any."""
    for size, world in ((21, 4), (17, 2)):
        (one,) = on_ranks(1, tmp_path / f"r{size}", accumulate, tmp_path / f"w{size}", size)
        folder = tmp_path / f"{size} on {world}"
        for each in on_ranks(world, folder, accumulate, folder / "w", size, **more):
            torch.testing.assert_close(each, one, rtol=1e-5, atol=1e-7)
