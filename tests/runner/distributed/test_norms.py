"""Batch norm over the samples of all ranks: values, gradients and statistics of one process with all of them."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from runner.distributed.test_ddp import Blocks
from seg_runner import Runner
from seg_runner.distributed.norms import SyncedBatchNorm
from torch import distributed, nn
from torch.utils.data import DataLoader

COUNTS = (3, 1, 2, 2)
"""Images of each rank: norms count every pixel, so ranks with more of them count more."""
OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": None},
    {"affine": False},
    {"track_running_stats": False},
    {"eps": 0.1},
]


def parts(world: int) -> list[torch.Tensor]:
    """What each rank gets in one step."""
    values = torch.randn(sum(COUNTS), 3, 4, 5, generator=torch.Generator().manual_seed(1)).double() * 3 + 40
    sizes = COUNTS if world == 4 else [sum(COUNTS[:2]), sum(COUNTS[2:])] if world == 2 else [sum(COUNTS)]
    return list(values.split(list(sizes)))


def norm_of(kind: type[nn.Module], options: dict[str, Any]) -> nn.Module:
    norm = kind(3, **options).double()
    if options.get("affine", True):
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
            norm.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
    return norm


def step(norm: nn.Module, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two steps and an evaluation; what comes out, and the gradient of the input of the second."""
    norm(values + 1)
    values = values.clone().requires_grad_()
    out = norm(values)
    out.pow(3).sum().backward()
    assert values.grad is not None
    return out.detach(), values.grad


def work() -> list[dict[str, Any]]:
    """What this rank sees, for each of the options."""
    distributed.init_process_group("gloo")
    mine, found = parts(distributed.get_world_size())[distributed.get_rank()], []
    for options in OPTIONS:
        norm = norm_of(SyncedBatchNorm, options)
        out, gradient = step(norm, mine)
        weight = norm.weight.grad if norm.weight is not None else None
        state = copy.deepcopy(norm.state_dict())
        evaluated = norm.eval()(mine) if options.get("track_running_stats", True) else None
        found.append({"out": out, "grad": gradient, "weight": weight, "state": state, "eval": evaluated})
    return found


@pytest.mark.parametrize("world", [2, 4])
def test_the_norm_of_all_ranks_is_that_of_one_process_with_the_whole_batch(tmp_path, world):
    every = on_ranks(world, tmp_path, work)
    for place, options in enumerate(OPTIONS):
        plain, whole = norm_of(nn.BatchNorm2d, options), torch.cat(parts(world))
        out, gradient = step(plain, whole)
        found = [of_rank[place] for of_rank in every]
        torch.testing.assert_close(torch.cat([each["out"] for each in found]), out)
        torch.testing.assert_close(torch.cat([each["grad"] for each in found]), gradient)
        if plain.weight is not None:  # averaged later on, as all gradients are
            torch.testing.assert_close(sum(each["weight"] for each in found), plain.weight.grad)
        for each in found:
            assert list(each["state"]) == list(plain.state_dict())
            torch.testing.assert_close(each["state"], dict(plain.state_dict()))
            assert all(torch.equal(value, found[0]["state"][name]) for name, value in each["state"].items())
        if options.get("track_running_stats", True):
            torch.testing.assert_close(torch.cat([each["eval"] for each in found]), plain.eval()(whole))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_alone_it_is_plain_batch_norm(dtype):
    plain, synced = nn.BatchNorm2d(3), SyncedBatchNorm(3)
    values = (torch.randn(4, 3, 5, 5) * 2 + 7).to(dtype)
    torch.testing.assert_close(synced(values), plain(values), rtol=2e-2 if dtype is torch.bfloat16 else 1e-5, atol=1e-5)
    torch.testing.assert_close(dict(synced.state_dict()), dict(plain.state_dict()), rtol=1e-4, atol=1e-5)
    assert synced(values).dtype is dtype


def test_a_single_value_has_no_variance():
    with pytest.raises(ValueError, match=r"more than one value for each channel; the input is \[1, 3\]"):
        SyncedBatchNorm(3)(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 2 dimensions, got 1"):
        SyncedBatchNorm(3)(torch.zeros(3))


def test_gradients_are_those_of_differences():
    norm = SyncedBatchNorm(2).double()
    values = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values, weight: norm(values) * weight, (values, torch.rand(1).double()))


def train(folder: Path, norm: type[nn.Module], sync_bn: Any) -> dict[str, Any]:
    """Train on this rank a net with norms; return its weights, and the lines about norms."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm(8), nn.ReLU(), nn.Conv2d(8, 3, 1))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader=DataLoader(Blocks(16), 8 // world, shuffle=True),
        train_cfg={"max_iters": 6},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        randomness={"seed": 3},
        sync_bn=sync_bn,
    )
    runner.train()
    told = next(runner.log_dir.glob("*[0-9].log")).read_text().splitlines()
    return {"weights": net.state_dict(), "told": [line for line in told if "atch norm" in line]}


@pytest.mark.parametrize(("norm", "sync_bn"), [(nn.SyncBatchNorm, None), (nn.BatchNorm2d, "torch")])
def test_a_net_with_synced_norms_trains_as_on_one_process(tmp_path, norm, sync_bn):
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", norm, sync_bn)
    for each in on_ranks(2, tmp_path / "r2", train, tmp_path / "w2", norm, sync_bn):
        torch.testing.assert_close(each["weights"], one["weights"], rtol=1e-5, atol=1e-6)
        assert "1 batch norms became synced batch norm for any device" in each["told"][0]
    if sync_bn is None:
        assert "SyncBatchNorm: 1 became plain batch norm, since there is one process" in one["told"][0]


def test_synced_norms_are_made_plain_where_that_is_asked_for(tmp_path):
    first, second = on_ranks(2, tmp_path / "r", train, tmp_path / "w", nn.SyncBatchNorm, False)
    assert "SyncBatchNorm: 1 became plain batch norm, as sync_bn=False says" in first["told"][0]
    assert not torch.equal(first["weights"]["1.running_mean"], second["weights"]["1.running_mean"])
