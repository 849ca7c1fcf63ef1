"""`randomness=dict(world='exact', ranks=V)`: the same bits with our optimizer wrappers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from runner.distributed.test_ddp import Blocks
from seg_optim import AmpOptimWrapper, OptimWrapper
from seg_runner import DefaultSampler, IoUMetric, LogitsModel, Runner
from torch import nn

RANKS = 4


def digest(values: dict[str, torch.Tensor]) -> str:
    """One text for all weights and buffers, which differs where one bit does."""
    told = hashlib.sha256()
    for name, value in values.items():
        told.update(name.encode() + value.contiguous().numpy().tobytes())
    return told.hexdigest()


def network(norm: type[nn.Module], dropout: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), norm(8), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(8, 3, 1), Unused()
    )


class Unused(nn.Module):
    """Has a weight that nothing depends on, which an optimizer must leave alone on any number of processes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def train(
    folder: Path,
    *,
    norm: type[nn.Module] = nn.BatchNorm2d,
    counts: int = 1,
    amp: bool = False,
    last: int = 22,
    **more: Any,
) -> dict[str, Any]:
    """Train on this process; return what must be the same on any number of them."""
    net, data = network(norm, 0.25), Blocks(last)
    optimizer = torch.optim.AdamW(net.parameters(), 0.01, weight_decay=0.1)
    options: dict[str, Any] = {"accumulative_counts": counts, "clip_grad": {"max_norm": 0.5}}
    wrapper = (
        AmpOptimWrapper(dtype="bfloat16", optimizer=optimizer, **options) if amp else OptimWrapper(optimizer, **options)
    )
    runner = Runner(
        model=LogitsModel(net, nn.CrossEntropyLoss(ignore_index=2)),
        work_dir=folder,
        optim_wrapper=wrapper,
        train_dataloader={"dataset": data, "sampler": DefaultSampler(data), "batch_size": 2, "num_workers": 0},
        randomness={"seed": 3, "world": "exact", "ranks": RANKS},
        val_dataloader={"dataset": Blocks(7), "batch_size": 2, "num_workers": 0},
        val_evaluator=IoUMetric(num_classes=3),
        log_interval=1,
        **{"train_cfg": {"max_iters": 8, "val_interval": 4}, **more},
    )
    runner.train()
    return {"weights": digest(net.state_dict()), "logs": logs(folder), "lr": wrapper.param_groups[0]["lr"]}


def logs(folder: Path) -> list[dict[str, Any]]:
    """The scalars of all sessions of a run, without times."""
    lines = [line for path in sorted(folder.glob("*/vis_data/scalars.json")) for line in path.read_text().splitlines()]
    return [{k: v for k, v in json.loads(line).items() if "time" not in k and k != "memory"} for line in lines]


CASES: dict[str, dict[str, Any]] = {
    "dropout and batch norm": {},
    "accumulation": {"counts": 2},
    "bf16": {"amp": True},
    "synced batch norm": {"norm": nn.SyncBatchNorm},
    "synced batch norm, accumulation, bf16": {"norm": nn.SyncBatchNorm, "counts": 2, "amp": True},
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_on_one_two_and_four_processes(tmp_path, name):
    found = {}
    for world in (1, 2, 4):
        every = on_ranks(world, tmp_path / f"r{world}", train, tmp_path / f"w{world}", **CASES[name])
        assert {each["weights"] for each in every} == {every[0]["weights"]}
        found[world] = every[0]
    assert found[1]["logs"]
    assert found[1] == found[2] == found[4]


class Stop:
    """Ends a session after a step; as it ends, the run saves where it stands."""

    def __init__(self, last: int) -> None:
        self.last = last

    def after_train_iter(self, runner: Any) -> None:
        runner.train_loop.stop_training = runner.iter + 1 == self.last


def resume(folder: Path, last: int, **more: Any) -> dict[str, Any]:
    """Train up to a step, from where the folder stands."""
    return train(folder, resume=True, train_cfg={"max_iters": 9}, custom_hooks=[Stop(last)], **more)


@pytest.mark.parametrize(
    "more", [{}, {"counts": 2, "norm": nn.SyncBatchNorm}, {"counts": 4, "amp": True}], ids=["plain", "synced", "bf16"]
)
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, more):
    """Four processes up to step 3, which may be in the middle of an accumulation, then one, then two."""
    (whole,) = on_ranks(1, tmp_path / "whole", train, tmp_path / "w1", train_cfg={"max_iters": 9}, **more)
    for number, (world, last) in enumerate([(4, 3), (1, 6), (2, 9)]):
        every = on_ranks(world, tmp_path / f"r{number}", resume, tmp_path / "w", last, **more)
    assert {each["weights"] for each in every} == {whole["weights"]}
    steps = [line for line in every[0]["logs"] if line["mode"] == "train"]
    assert steps == [line for line in whole["logs"] if line["mode"] == "train"]
