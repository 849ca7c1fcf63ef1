"""A TrainState whose workers are killed, and started again by torchrun's own agent; a rank that fails alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from helpers.ranks import Ranks, on_ranks
from seg_hooks import CheckpointHook, TrainState
from torch import distributed, nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

DATA = torch.randn(48, 4, generator=torch.Generator().manual_seed(5))


def train(folder: Path, kill: tuple[int, int] | None = None, fail: int = -1) -> None:
    """Train twelve steps; a rank kills itself before a step, once, or fails in it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    state = TrainState(net, optimizer, folder, 12, hooks=[CheckpointHook(2, by_epoch=False)])
    rank = distributed.get_rank()  # TrainState has made the group
    state.model = DistributedDataParallel(net)
    torch.manual_seed(rank)
    state.resume()
    with state:
        for batch in state.batches(DataLoader(DATA, 4, sampler=DistributedSampler(DATA))):
            if kill == (rank, state.iter) and not (mark := folder.parent / f"killed_{rank}").exists():
                mark.write_text("")
                os.kill(os.getpid(), signal.SIGKILL)
            if fail == state.iter and rank == 1:
                raise ArithmeticError("this rank alone")
            loss = state.model(batch).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            state.after_step(loss=loss)


def agent(folder: Path, kill: tuple[int, int]) -> None:
    """Do what `torchrun --nproc-per-node=2 --max-restarts=2` does."""
    for name in [name for name in os.environ if "RANK" in name or "MASTER" in name or "WORLD" in name]:
        del os.environ[name]
    config = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", run_id="1", max_restarts=2, monitor_interval=0.05,
        start_method="fork", rdzv_configs={"join_timeout": 60, "last_call_timeout": 1, "close_timeout": 5},
    )  # fmt: skip
    elastic_launch(config, train)(folder, kill)


def last(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "iter_12.pth", weights_only=True)
    return found


def test_a_worker_that_is_killed_costs_the_steps_since_the_last_checkpoint(tmp_path):
    (tmp_path / "killed").mkdir()
    on_ranks(2, tmp_path / "ranks", train, tmp_path / "whole")
    with Ranks(1, tmp_path / "agent", agent, tmp_path / "killed" / "out", (1, 7)) as ranks:
        assert ranks.codes() == [0], ranks.said(0)
    assert "Resumed from" in ranks.said(0)
    assert "iter_6.pth at iteration 6" in ranks.said(0)
    whole, killed = last(tmp_path / "whole"), last(tmp_path / "killed" / "out")
    assert all(torch.equal(value, killed["state_dict"][name]) for name, value in whole["state_dict"].items())
    for one, other in zip(whole["ranks"], killed["ranks"], strict=True):
        assert torch.equal(one["random"]["torch"], other["random"]["torch"])


def test_a_rank_that_fails_alone_ends_all(tmp_path):
    with Ranks(2, tmp_path / "ranks", train, tmp_path / "out", fail=7) as ranks:
        began = time.monotonic()
        assert ranks.codes() == [1, 1]
        spent = time.monotonic() - began
    assert "ArithmeticError: this rank alone" in ranks.said(1)
    assert "ArithmeticError" not in ranks.said(0)
    assert spent < 600, "the timeout of torch, which somebody waited for"
    assert (tmp_path / "out" / "iter_6.pth").exists()
