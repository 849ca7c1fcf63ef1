"""`randomness=dict(world='exact', ranks=V)`: the same run, bit for bit, on any number of processes.

With accumulation, clipping, bf16 and after resuming: `tests/contracts/test_exact_world.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from hypothesis import given
from hypothesis import strategies as st
from runner.distributed.test_ddp import Blocks
from runner.distributed.test_signals import lines
from seg_runner import DefaultSampler, IoUMetric, Runner, TrainBatches
from seg_runner.distributed.strategy import pick_strategy
from seg_runner.distributed.virtual.tree import Carry, added, over_processes
from seg_runner.distributed.virtual.world import ExactDataParallel, RankBatches, own_ranks
from seg_runner.distributed.world import World
from seg_runner.process.randomness import resolve_randomness
from torch import distributed, nn
from torch.utils.data import DataLoader


def train(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Train a net with dropout and batch norm on this process by a plain optimizer, and validate it."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.25), nn.Conv2d(8, 3, 1)
    )
    data = Blocks(22)
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1, momentum=0.9),
        train_dataloader={"dataset": data, "sampler": DefaultSampler(data), "batch_size": 2, "num_workers": 0},
        train_cfg={"max_epochs": 2, "by_epoch": True},
        val_dataloader={"dataset": Blocks(7), "batch_size": 2, "num_workers": 0},
        val_evaluator=IoUMetric(num_classes=3),
        val_cfg={"loss": True},
        randomness={"seed": 3, "world": "exact", "ranks": 4},
    )
    runner.train()
    assert runner.iter == 6  # two epochs of 22 samples, 8 in a step
    return net.state_dict(), runner.val()


def test_weights_and_metrics_are_equal_to_the_last_bit(tmp_path):
    ((weights, metrics),) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1")
    for world in (2, 4):
        for found, measured in on_ranks(world, tmp_path / f"r{world}", train, tmp_path / f"w{world}"):
            torch.testing.assert_close(found, weights, rtol=0, atol=0)
            assert measured == metrics
        log = lines(tmp_path / f"w{world}", 0)
        assert f"world='exact': 4 virtual ranks, {4 // world} in each of {world} processes" in log
        assert "trained by virtual ranks" in log


def sum_over(size: int) -> tuple[list[bytes], list[bytes]]:
    """Add tensors of all processes, small and large; return the sums, and those of one process."""
    distributed.init_process_group("gloo")
    rank, sums, expected = distributed.get_rank(), [], []
    for numbers in (8, 1 << 16):
        every = [torch.randn(numbers, generator=torch.Generator().manual_seed(each)) for each in range(size)]
        mine = every[rank].clone()
        over_processes(mine, size)
        sums.append(mine.numpy().tobytes())
        expected.append(added(every).numpy().tobytes())
    return sums, expected


@pytest.mark.parametrize("world", [2, 4])
def test_the_sum_over_processes_has_the_bits_of_the_tree(tmp_path, world):
    for sums, expected in on_ranks(world, tmp_path, sum_over, world):
        assert sums == expected


@given(
    values=st.lists(st.floats(-1e8, 1e8, width=32), min_size=8, max_size=8),
    parts=st.sampled_from([1, 2, 4, 8]),
)
def test_any_split_of_a_sum_gives_the_same_bits(values, parts):
    leaves = [torch.tensor([value]) for value in values]
    share, sums = len(leaves) // parts, []
    for at in range(0, len(leaves), share):
        carry: Carry[list[torch.Tensor]] = Carry()
        for leaf in leaves[at : at + share]:
            carry.push([leaf.clone()], [])
        sums += carry.total()
    assert torch.equal(added(sums), added(leaves))


def test_which_virtual_ranks_a_process_has():
    assert [list(own_ranks(8, rank, 4)) for rank in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    with pytest.raises(ValueError, match=r"ranks=8: 3 processes cannot share .* Start 1 or 2 or 4 or 8 of them"):
        own_ranks(8, 0, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"world": "exakt"}, "randomness.world is 'exakt'; it is one of 'any', 'exact'"),
        ({"ranks": 2}, "randomness.ranks=2 is for world='exact' only"),
        ({"world": "exact"}, "randomness.ranks is 0: world='exact' needs a power of two"),
        ({"world": "exact", "ranks": 6}, "randomness.ranks is 6: world='exact' needs a power of two"),
        ({"world": "exact", "ranks": 2, "stream": "mmengine"}, "needs stream='sample', not 'mmengine'"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        resolve_randomness(given)


def test_strategies_that_add_gradients_in_another_way_are_refused():
    with pytest.raises(ValueError, match=r"strategy is 'fsdp', and randomness.world='exact' adds the gradients itself"):
        pick_strategy("fsdp", None, World(0, 2), ranks=4)
    assert type(pick_strategy("ddp", None, World(0, 2), ranks=4)).__name__ == "ExactWorld"
    with pytest.raises(ValueError, match=r"4 processes cannot share 2 virtual ranks evenly. Start 1 or 2 of them"):
        pick_strategy(None, None, World(0, 4), ranks=2)


def test_loaders_that_hand_out_batches_only_are_refused(tmp_path):
    net = nn.Conv2d(3, 3, 1)
    with pytest.raises(TypeError, match="deals single samples to its 2 virtual ranks, and list hands out batches only"):
        Runner(
            model=net,
            loss=nn.CrossEntropyLoss(),
            work_dir=tmp_path,
            optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
            train_dataloader=[1],
            train_cfg={"max_iters": 1},
            randomness={"world": "exact", "ranks": 2},
        ).train()


def exact(ranks):
    return resolve_randomness({"seed": 0, "world": "exact", "ranks": ranks})


def test_another_number_of_virtual_ranks_is_told(caplog):
    loader = DataLoader(torch.arange(16), batch_size=2)
    batches = TrainBatches(loader, exact(4))
    saved = batches.state_dict()
    TrainBatches(loader, exact(4)).load_state_dict(saved)
    assert not caplog.text
    TrainBatches(loader, exact(2)).load_state_dict(saved)
    assert "randomness.ranks=2, but the checkpoint is of a run with 4 ranks" in caplog.text


def test_several_optimizers_are_refused():
    model = ExactDataParallel(nn.Linear(1, 1), 2, World())
    with pytest.raises(RuntimeError, match=r"gradients of one optimizer, and this run has several.*separate_ddp"):
        model.train_step(RankBatches([None, None]), {"generator": None, "discriminator": None})
