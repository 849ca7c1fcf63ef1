"""The run does not depend on the number of processes: the same samples in the same batches, the same metrics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from runner.distributed.test_ddp import Blocks, network
from seg_runner import DefaultSampler, Runner
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

SIZE = 22
"""Samples: two batches of 8 and one of 6, which four ranks share as 2, 2, 1, 1."""


def loader(kind: str, data: Blocks, batch_size: int) -> DataLoader[Any]:
    """A loader as users make them, before there is a process group or knowing nothing of one."""
    if kind == "random":
        return DataLoader(data, batch_size, shuffle=True)
    if kind == "default":
        return DataLoader(data, batch_size, sampler=DefaultSampler(data, seed=3))
    if kind == "distributed":
        return DataLoader(data, batch_size, sampler=DistributedSampler(data, num_replicas=1, rank=0))
    if kind == "batches":
        return DataLoader(data, batch_sampler=Batches(SequentialSampler(data), batch_size, False))
    return DataLoader(data, batch_size)


class Batches(BatchSampler):
    """A batch sampler of a user's own, whose batches are dealt out whole."""


class Seen:
    """A hook that writes down which samples were trained on; the sum of an image tells it."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def after_train_iter(self, runner: Any, data_batch: Any) -> None:
        self.lengths.append(len(data_batch[0]))


def train(folder: Path, kind: str, last: int = SIZE) -> dict[str, Any]:
    """Train two epochs on this rank."""
    net, world, seen = network(), int(os.environ.get("WORLD_SIZE", "1")), Seen()
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader=loader(kind, Blocks(last), 8 // world),
        train_cfg={"max_epochs": 2, "by_epoch": True},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1, momentum=0.9),
        randomness={"seed": 3},
        custom_hooks=[seen],
    )
    runner.train()
    return {"weights": net.state_dict(), "lengths": seen.lengths, "iter": runner.iter}


@pytest.mark.parametrize("kind", ["random", "default", "distributed", "batches", "plain"])
def test_a_last_batch_that_does_not_divide_counts_as_on_one_process(tmp_path, kind):
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", kind)
    assert one["lengths"] == [8, 8, 6] * 2
    for world, lengths in ((2, [3, 3]), (4, [2, 2, 1, 1])):
        found = on_ranks(world, tmp_path / f"r{world}", train, tmp_path / f"w{world}", kind)
        own = [[8 // world, 8 // world, length] * 2 for length in lengths]
        if kind != "batches":  # which are dealt whole
            assert [each["lengths"] for each in found] == own
            for each in found:
                torch.testing.assert_close(each["weights"], one["weights"], rtol=1e-5, atol=1e-7)
        assert {each["iter"] for each in found} == {6}
        torch.testing.assert_close(found[0]["weights"], found[-1]["weights"], rtol=0, atol=0)


def test_a_rank_without_a_sample_takes_part(tmp_path):
    """Seventeen samples leave one for the last batch: three of four ranks have none, and none waits for another."""
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", "plain", 17)
    for each in on_ranks(4, tmp_path / "r4", train, tmp_path / "w4", "plain", 17):
        assert each["iter"] == 6
        torch.testing.assert_close(each["weights"], one["weights"], rtol=1e-5, atol=1e-7)
