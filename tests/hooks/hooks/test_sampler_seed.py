from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from seg_hooks import DistSamplerSeedHook
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def before_epoch(loader: Any, epoch: int) -> None:
    DistSamplerSeedHook().before_train_epoch(SimpleNamespace(train_dataloader=loader, epoch=epoch))


def test_torchs_distributed_sampler_gets_another_order() -> None:
    data = TensorDataset(torch.arange(32))
    loader = DataLoader(data, sampler=DistributedSampler(data, num_replicas=2, rank=0, seed=3), batch_size=4)
    orders = []
    for epoch in (0, 1, 0):
        before_epoch(loader, epoch)
        orders.append([value for (batch,) in loader for value in batch.tolist()])
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_the_sampler_inside_a_batch_sampler_is_found() -> None:
    seen: list[int] = []
    inner = SimpleNamespace(set_epoch=seen.append)
    before_epoch(SimpleNamespace(sampler=object(), batch_sampler=SimpleNamespace(sampler=inner)), 5)
    assert seen == [5]


def test_the_sampler_itself_comes_first_and_is_told_once() -> None:
    seen: list[str] = []
    outer = SimpleNamespace(set_epoch=lambda epoch: seen.append("outer"))
    inner = SimpleNamespace(set_epoch=lambda epoch: seen.append("inner"))
    before_epoch(SimpleNamespace(sampler=outer, batch_sampler=SimpleNamespace(sampler=inner)), 5)
    assert seen == ["outer"]


def test_loaders_without_a_sampler_are_left_alone() -> None:
    for loader in ([1, 2], None, DataLoader(TensorDataset(torch.arange(4)))):
        before_epoch(loader, 1)
