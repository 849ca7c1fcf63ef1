from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from seg_hooks import CheckpointHook, DistSamplerSeedHook, EMAHook, EmptyCacheHook, SyncBuffersHook
from seg_hooks.model.weights import unwrap
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class Hub(dict[str, Any]):
    """What hooks note."""

    get_info = dict.get

    def update_info(self, name: str, value: object, resumed: bool = True) -> None:
        self[name] = value


def train_on_this_rank(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    net = nn.BatchNorm1d(2)
    net.running_mean.fill_(float(rank))
    net.num_batches_tracked.fill_(rank + 5)
    hook, runner = SyncBuffersHook(), SimpleNamespace(model=net)
    hook.before_train_epoch(runner)
    hook.before_val_epoch(runner)
    assert net.running_mean.tolist() == [0.5, 0.5], net.running_mean
    assert net.num_batches_tracked.item() == 5
    net.running_mean.fill_(float(rank))
    hook.after_train_epoch(runner)
    hook.before_val_epoch(runner)  # already equal: nothing is sent
    assert net.running_mean.tolist() == [0.5, 0.5]

    torch.manual_seed(0)
    ddp = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
    assert unwrap(ddp) is ddp.module
    ema = EMAHook(momentum=0.5)
    owner = SimpleNamespace(model=ddp, iter=0, epoch=0, max_iters=3, max_epochs=1)
    ema.before_run(owner)
    ema.before_train(owner)
    optimizer = torch.optim.SGD(ddp.parameters(), 0.1)
    for step in range(3):
        owner.iter = step
        ddp(torch.full((1, 2), float(rank))).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.after_train_iter(owner, batch_idx=step)
    both = [torch.zeros_like(ddp.module.weight) for _ in range(2)]
    distributed.all_gather(both, ema.ema_model.module.weight.detach().clone())
    assert torch.equal(*both)

    def save(path: Path, *, optimizer: bool, schedulers: bool, on_done: Callable[[], None]) -> None:
        if rank == 0:  # as seg-runner does
            path.write_bytes(b"a state")
            on_done()

    keeper = CheckpointHook(1, by_epoch=False, max_keep_ckpts=1, save_best="mIoU")
    place = {"iter": 0, "epoch": 0, "max_iters": 9, "max_epochs": 1, "work_dir": folder}
    owner = SimpleNamespace(**place, message_hub=Hub(), save_checkpoint=save, logger=logging.Logger("x"))
    keeper.before_train(owner)
    for step in range(3):
        owner.iter = step
        keeper.after_train_iter(owner, batch_idx=step)
        keeper.after_val_epoch(owner, metrics={"mIoU": step})
    books = keeper.state_dict()
    assert books["kept"] == [3], books
    assert (books["best"][0]["score"], books["best"][0]["file"]) == (2.0, "best_mIoU_iter_2.pth"), books
    distributed.barrier()
    assert sorted(p.name for p in folder.glob("*.pth")) == ["best_mIoU_iter_2.pth", "iter_3.pth"]


def test_on_two_ranks_buffers_become_equal_and_the_average_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    on_ranks(2, tmp_path / "ranks", train_on_this_rank, tmp_path / "out")


def test_alone_buffers_are_left_as_they_are() -> None:
    net = torch.nn.BatchNorm1d(2)
    net.running_mean.fill_(3.0)
    hook, runner = SyncBuffersHook(), SimpleNamespace(model=net)
    hook.after_train_epoch(runner)
    hook.before_val_epoch(runner)
    assert net.running_mean.tolist() == [3.0, 3.0]


def test_the_cache_is_emptied_at_the_points_asked_for() -> None:
    iterations = [f"after_{mode}_iter" for mode in ("train", "val", "test")]
    assert set(iterations) <= set(EmptyCacheHook(after_iter=True).get_triggered_stages())
    for options in ({}, {"before_epoch": True, "after_epoch": False, "after_iter": True}):
        hook = EmptyCacheHook(**options)
        hook.before_val_epoch(None)
        hook.after_train_iter(None, batch_idx=0)
        hook.after_test_epoch(None)


@pytest.mark.parametrize("option", ["before_epoch", "after_epoch", "after_iter"])
def test_wrong_options(option: str) -> None:
    with pytest.raises(TypeError, match=f"{option}='yes'"):
        EmptyCacheHook(**{option: "yes"})


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
