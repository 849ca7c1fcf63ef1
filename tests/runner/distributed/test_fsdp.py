"""One model in parts on several ranks by FSDP2: the same run and the same files as on one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.blocks import Block, Blocks, Net
from helpers.ranks import on_ranks
from seg_runner import DefaultSampler, IoUMetric, Runner
from seg_runner.distributed.fsdp import FullyShardedDataParallel, _refuse_optimizer
from seg_runner.distributed.shards import is_sharded, like
from seg_runner.distributed.strategy import pick_strategy
from seg_runner.distributed.units import find_units
from seg_runner.distributed.world import World
from seg_runner.model.wrapping import unwrap
from torch import nn


def make(folder: Path, iters: int, net: nn.Module, optimizer: Any = None, **more: Any) -> Runner:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    order = {"sampler": {"type": DefaultSampler}, "batch_size": 8 // world, "num_workers": 0}
    val = {"sampler": {"type": DefaultSampler, "shuffle": False}, "batch_size": 2, "num_workers": 0}
    return Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={"dataset": Blocks(24), **order},
        train_cfg={"max_iters": iters, "val_interval": 4},
        optim_wrapper=torch.optim.AdamW(net.parameters(), 0.01) if optimizer is None else optimizer,
        val_dataloader={"dataset": Blocks(7), **val},
        val_evaluator=IoUMetric(num_classes=3),
        randomness={"seed": 3},
        **more,
    )


def train(folder: Path, iters: int = 8, **more: Any) -> dict[str, Any]:
    """Train on this rank, and return the metric and what the file of the run holds."""
    net = Net()
    runner = make(folder, iters, net, **more)
    runner.train()
    metrics = runner.val()  # after which rank 0 has written the file
    saved = torch.load(runner.work_dir / f"iter_{iters}.pth", weights_only=True)
    return {
        "metrics": metrics,
        "sharded": sorted(name for name, one in net.named_parameters() if is_sharded(one)),
        "bare": unwrap(runner.model).model is net,
        "state_dict": saved["state_dict"],
        "optimizer": saved["optimizer"],
        "log": (runner.log_dir / f"{runner.timestamp}.log").read_text(encoding="utf-8"),
    }


def same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("one")
    (found,) = on_ranks(1, folder / "r", train, folder / "w")
    return found


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run of one process to half as many steps; `file` is its checkpoint."""
    folder = tmp_path_factory.mktemp("half")
    (found,) = on_ranks(1, folder / "r", train, folder / "w", 4)
    return {**found, "file": str(folder / "w" / "iter_4.pth")}


def test_two_and_four_ranks_train_as_one(tmp_path: Path, one: dict[str, Any]) -> None:
    for world in (2, 4):
        found = on_ranks(world, tmp_path / f"r{world}", train, tmp_path / f"w{world}", strategy="fsdp")
        for each in found:
            assert each["metrics"] == one["metrics"]
            assert len(each["sharded"]) == 12
            assert each["bare"]
            assert list(each["state_dict"]) == list(one["state_dict"])
            same(each["state_dict"], one["state_dict"])
            same(each["optimizer"], one["optimizer"])
        assert f"each rank keeps 1/{world} of the weights; gathered together: 2 units (Block)" in found[0]["log"]


def test_a_run_of_two_ranks_goes_on_with_any_number_and_strategy(tmp_path: Path, one: dict[str, Any]) -> None:
    on_ranks(2, tmp_path / "first", train, tmp_path / "half", 4, strategy="fsdp")
    file = tmp_path / "half" / "iter_4.pth"
    for world, strategy in ((1, None), (2, "ddp"), (4, "fsdp")):
        folder = tmp_path / f"{strategy}{world}"
        for each in on_ranks(world, folder, train, folder / "w", strategy=strategy, resume=str(file)):
            same(each["state_dict"], one["state_dict"])
            same(each["optimizer"], one["optimizer"])


def test_a_run_of_one_process_goes_on_in_parts(tmp_path: Path, one: dict[str, Any], half: dict[str, Any]) -> None:
    for each in on_ranks(2, tmp_path / "r", train, tmp_path / "w2", strategy="fsdp", resume=half["file"]):
        same(each["state_dict"], one["state_dict"])
    (again,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w3", 4, load_from=half["file"])
    for each in on_ranks(2, tmp_path / "r2", train, tmp_path / "w4", 4, strategy="fsdp", load_from=half["file"]):
        same(each["state_dict"], again["state_dict"])


OPTIONS = [
    {"wrap": ["Block"], "offload": True},
    {"wrap": "blocks.*", "reshard_after_forward": False},
    {"min_params": 20},
    {"param_dtype": "bfloat16"},
    {"shard_size": 2},
]


def test_a_whole_tensor_is_cut_into_memory_of_its_own(tmp_path: Path) -> None:
    assert on_ranks(2, tmp_path / "r", cut) == [(9, 9, 8.0), (6, 6, 14.0)]


def cut() -> tuple[int, int, float]:
    """Cut a tensor on this rank, and return the numbers in its part, those in its memory, and its last one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.distributed.init_process_group("gloo")
    own = distribute_tensor(torch.zeros(5, 3), init_device_mesh("cpu", (2,)), [Shard(0)])
    part = like(torch.arange(15.0).view(5, 3), own).to_local()
    return part.numel(), part.untyped_storage().nbytes() // 4, float(part[-1, -1])


def sharded_by_hand(folder: Path, iters: int = 8, **more: Any) -> dict[str, Any]:
    """Train a net that is sharded already on this rank."""
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo")
    net = fully_shard(Net())
    runner = make(folder, iters, net, **more)
    runner.train()
    runner.world.gather(None)
    saved = torch.load(folder / f"iter_{iters}.pth", weights_only=True)
    return {key: saved[key] for key in ("state_dict", "optimizer")}


def test_a_net_that_comes_sharded_is_trained_so(tmp_path: Path, one: dict[str, Any]) -> None:
    on_ranks(2, tmp_path / "r2", sharded_by_hand, tmp_path / "w2", 4)
    for each in on_ranks(2, tmp_path / "r3", sharded_by_hand, tmp_path / "w3", resume=str(tmp_path / "w2/iter_4.pth")):
        same(each["state_dict"], one["state_dict"])
        same(each["optimizer"], one["optimizer"])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_option_trains(tmp_path: Path, half: dict[str, Any], options: dict[str, Any]) -> None:
    world = 4 if "shard_size" in options else 2
    found = on_ranks(world, tmp_path / "r2", train, tmp_path / "w2", 4, strategy={"type": "fsdp", **options})
    close = {"rtol": 0.1, "atol": 0.02} if "param_dtype" in options else {"rtol": 1e-5, "atol": 1e-6}
    for name, weight in found[1]["state_dict"].items():
        assert weight.dtype is torch.float32
        torch.testing.assert_close(weight, half["state_dict"][name], **close)


def test_compiled_it_is_the_same_run(tmp_path: Path, half: dict[str, Any]) -> None:
    options = {"strategy": "fsdp", "compile": {"backend": "eager"}}
    for each in on_ranks(2, tmp_path / "r2", train, tmp_path / "w2", 4, **options):
        same(each["state_dict"], half["state_dict"])


def test_activations_are_computed_again_in_parts(tmp_path: Path, half: dict[str, Any]) -> None:
    options = {"strategy": "fsdp", "activation_checkpointing": ["blocks.*"]}
    for each in on_ranks(2, tmp_path / "r2", train, tmp_path / "w2", 4, **options):
        same(each["state_dict"], half["state_dict"])


def names(model: nn.Module, **options: Any) -> list[str]:
    return list(find_units(model, **options)[0])


def test_blocks_are_found_and_stages_give_way_to_them() -> None:
    class Stage(nn.Module):
        def __init__(self, width: int, extra: int) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block(width), Block(width)])
            self.down = nn.Linear(extra, extra)

    model = nn.Module()
    model.stages = nn.ModuleList([Stage(8, 1), Stage(16, 1)])
    assert names(model) == ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.0", "stages.1.blocks.1"]
    model.stages = nn.ModuleList([Stage(8, 99), Stage(16, 199)])
    assert names(model) == ["stages.0", "stages.1"]
    assert names(Net()) == ["blocks.0", "blocks.1"]
    assert names(Net(), min_params=200) == ["blocks.0.conv", "blocks.1.conv"]
    assert names(nn.Sequential(nn.Conv2d(3, 3, 1))) == []


def test_units_leave_tied_weights_and_parts_of_torch_alone() -> None:
    net = Net()
    net.blocks[1].conv.weight = net.stem.weight
    assert names(net) == ["blocks.0"]
    attention = nn.Sequential(nn.MultiheadAttention(8, 2))
    assert names(attention, min_params=10) == ["0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wrap": ["Blok"]}, "called 'Blok'. Did you mean 'Block'"),
        ({"wrap": "blocks"}, "'blocks' is a ModuleList, which is never called.*'blocks.\\*'"),
        ({"param_dtype": "int8"}, "strategy.param_dtype is 'int8'; it is 'bfloat16'"),
        ({"wrap": "Block", "min_params": 3}, "give one of them"),
        ({"param_dtype": torch.int8}, "strategy.param_dtype is torch.int8; it is 'bfloat16'"),
        ({"wrap": 5}, "strategy.wrap must be a name or a list of names, not 5"),
        ({"min_params": "big"}, "strategy.min_params must be a number above 0, not 'big'"),
        ({"shard_size": "2"}, "strategy.shard_size must be a whole number of ranks, not '2'"),
        ({"reshard_after_forward": "yes"}, "must be True, False or None, not 'yes'"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    def use() -> None:
        made = FullyShardedDataParallel(**options)
        find_units(Net(), made.chosen, made.min_params)

    with pytest.raises((TypeError, ValueError), match=message):
        use()


@pytest.mark.parametrize("optimizer", [torch.optim.Rprop, torch.optim.LBFGS, torch.optim.Adafactor])
def test_an_optimizer_that_cannot_step_on_parts_is_told(optimizer: Any) -> None:
    with pytest.raises(ValueError, match=f"torch's {optimizer.__name__} .*use another optimizer"):
        _refuse_optimizer(optimizer(Net().parameters()), 2)


def validate(folder: Path, **more: Any) -> dict[str, Any]:
    """Measure the loss, too, on four batches."""
    torch.manual_seed(0)
    return make(folder, 1, Net(), val_cfg={"loss": True}, **more).val()


def test_the_loss_of_validation_is_that_of_one_process(tmp_path: Path) -> None:
    """Three ranks share four batches, so two of them go along in the last step of the first."""
    (alone,) = on_ranks(1, tmp_path / "r1", validate, tmp_path / "w1")
    for each in on_ranks(3, tmp_path / "r3", validate, tmp_path / "w3", strategy="fsdp"):
        assert each == pytest.approx(alone, rel=1e-5)
        assert "val_loss" in each


def test_one_process_trains_as_it_is() -> None:
    assert type(pick_strategy({"type": "fsdp", "wrap": "Block"}, None, World())).__name__ == "Single"
