"""One model on several ranks by DDP: the same run as on one process with the same global batch."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.blocks import Blocks
from helpers.ranks import Ranks, on_ranks
from seg_runner import DefaultSampler, IoUMetric, Runner
from seg_runner.distributed.ddp import DataParallel, ReplicatedModel
from seg_runner.distributed.strategy import pick_strategy
from seg_runner.distributed.world import World
from torch import nn


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


def train(
    folder: Path, global_batch: int = 8, size: int = 24, net: nn.Module | None = None, **more: Any
) -> dict[str, Any]:
    """Train on this rank, and return the weights, the files of the run, and the metric."""
    net, world = network() if net is None else net, int(os.environ.get("WORLD_SIZE", "1"))
    data, held = Blocks(size), Blocks(7)
    order = {"sampler": {"type": DefaultSampler}, "batch_size": global_batch // world, "num_workers": 0}
    val = {"sampler": {"type": DefaultSampler, "shuffle": False}, "batch_size": 2, "num_workers": 0}
    runner = Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={"dataset": data, **order},
        train_cfg={"by_epoch": False, "max_iters": 12, "val_interval": 6},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        val_dataloader={"dataset": held, **val},
        val_evaluator=IoUMetric(num_classes=3),
        randomness={"seed": 3},
        log_interval=3,
        **more,
    )
    runner.train()
    metrics = runner.val()  # after which rank 0 has written the file
    saved = torch.load(max(folder.glob("*.pth")), weights_only=True)["state_dict"]
    return {
        "weights": net.state_dict(),
        "metrics": metrics,
        "names": list(saved),
        "saved": saved,
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


def test_options_of_another_kind_are_told():
    with pytest.raises(TypeError, match=r"strategy\.static_graph must be True or False, not 'no'"):
        DataParallel(static_graph="no")
    with pytest.raises(ValueError, match=r"strategy is \['ddp'\], which there is none of"):
        pick_strategy({"type": ["ddp"]}, None, World(0, 2))


class Steps(nn.Module):
    """A model with steps of its own, as MMEngine's have; `how` says in which way it is told to be wrong."""

    def __init__(self, how: str = "once", unused: bool = False) -> None:
        super().__init__()
        self.net, self.how = network(), how
        self.unused = nn.Conv2d(3, 3, 1) if unused else None

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        images, masks = map(torch.stack, data)
        with optim_wrapper.optim_context(self):
            loss = nn.functional.cross_entropy(self(images), masks)
        if self.how == "backward":
            optim_wrapper.backward(loss)
        for _ in range(2 if self.how == "twice" else 1):
            optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)


def steps(folder: Path, how: str = "once", *, unused: bool = False, ready: bool = False, **more: Any) -> dict[str, Any]:
    """Train a model with steps on this rank, without validation."""
    torch.manual_seed(0)
    net, world = Steps(how, unused), int(os.environ.get("WORLD_SIZE", "1"))
    if ready:
        torch.distributed.init_process_group("gloo")
    runner = Runner(
        model=nn.parallel.DistributedDataParallel(net) if ready else net,
        work_dir=folder,
        train_dataloader={
            "dataset": Blocks(24),
            "sampler": {"type": DefaultSampler},
            "batch_size": 8 // world,
            "num_workers": 0,
        },
        train_cfg={"by_epoch": False, "max_iters": 6},
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        randomness={"seed": 3},
        **more,
    )
    runner.train()
    return {"weights": net.state_dict(), "log": (runner.log_dir / f"{runner.timestamp}.log").read_text("utf-8")}


def near(found: list[dict[str, Any]], one: dict[str, Any], rtol: float = 1e-5, atol: float = 1e-7) -> None:
    for each in found:
        torch.testing.assert_close(each["weights"], found[0]["weights"], rtol=0, atol=0)
        torch.testing.assert_close(each["weights"], one["weights"], rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict[str, Any]]:
    """The runs of one process, with and without parameters that nothing uses."""
    folder = tmp_path_factory.mktemp("alone")
    both = {
        unused: on_ranks(1, folder / f"r{unused}", steps, folder / f"w{unused}", unused=unused)
        for unused in (False, True)
    }
    return {unused: found[0] for unused, found in both.items()}


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": {"type": "ddp", "find_unused_parameters": True}, "unused": True},
        {"strategy": {"type": "ddp", "static_graph": True}, "unused": True},
        {"cfg": {"model_wrapper_cfg": {"find_unused_parameters": True, "device_ids": [0]}}, "unused": True},
        {"strategy": {"type": "ddp", "bucket_cap_mb": 1, "gradient_as_bucket_view": True}},
        {"strategy": {"type": "ddp", "compress": "bf16"}},
        {"strategy": {"type": "ddp", "compress": "fp16"}},
        {"ready": True},
        {"compile": {"backend": "eager"}},
    ],
    ids=str,
)
def test_each_option_trains_as_one_process(tmp_path: Path, alone: Any, options: dict[str, Any]) -> None:
    one = alone[options.get("unused", False)]
    short = "compress" in str(options)
    near(on_ranks(2, tmp_path / "r2", steps, tmp_path / "w2", **options), one, *((0.05, 0.01) if short else ()))


def ready_logits(folder: Path) -> dict[str, Any]:
    """Train logits that come in DDP on this rank."""
    torch.distributed.init_process_group("gloo")
    return train(folder, net=nn.parallel.DistributedDataParallel(network()))


def test_a_net_that_comes_in_ddp_exchanges_gradients(tmp_path: Path) -> None:
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1")
    for each in on_ranks(2, tmp_path / "r2", ready_logits, tmp_path / "w2"):
        torch.testing.assert_close(each["saved"], one["saved"], rtol=1e-5, atol=1e-7)
        assert each["metrics"] == one["metrics"]


class Freeze:
    """A hook that freezes a layer when the model is wrapped already, and thaws it."""

    def before_train_iter(self, runner: Any, batch_idx: int) -> None:
        next(runner.model.parameters()).requires_grad_(batch_idx not in (1, 2))


def test_what_is_frozen_and_thawed_is_noticed(tmp_path: Path) -> None:
    (one,) = on_ranks(1, tmp_path / "r1", steps, tmp_path / "w1", hooks=[Freeze()])
    near(on_ranks(2, tmp_path / "r2", steps, tmp_path / "w2", hooks=[Freeze()]), one)


class Statistics(nn.Sequential):
    """A net with running statistics, which differ from rank to rank."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1))


@pytest.mark.parametrize("cfg", [None, {"model_wrapper_cfg": {"type": "MMDistributedDataParallel"}}])
def test_buffers_are_those_of_rank_0_where_that_is_asked_for(tmp_path: Path, cfg: Any) -> None:
    found = on_ranks(2, tmp_path / "r", buffers, tmp_path / "w", cfg)
    assert torch.equal(found[0], found[1]) == (cfg is not None)


def buffers(folder: Path, cfg: Any) -> torch.Tensor:
    """Train on this rank, and return a running mean as it was before the last forward pass."""
    net, kept = Statistics(), []
    net[1].register_forward_pre_hook(lambda module, _: kept.append(module.running_mean.clone()))
    train(folder, net=net, cfg=cfg)
    return kept[11]


class Counted(ReplicatedModel):
    """A wrapper as a user registers it."""

    def __init__(self, module: nn.Module, greeting: str) -> None:
        super().__init__(module)
        self.greeting, self.steps = greeting, 0

    def train_step(self, data: object, optim_wrapper: Any) -> Any:
        self.steps += 1
        return super().train_step(data, optim_wrapper)


def with_own_wrapper(folder: Path) -> Any:
    cfg = {"model_wrapper_cfg": {"type": Counted, "greeting": "hello"}}
    found: list[Any] = []
    count = SimpleNamespace(after_train=lambda runner: found.append(runner.model))
    trained = train(folder, cfg=cfg, hooks=[count])
    model = found[0]
    return type(model).__name__, getattr(model, "steps", None), getattr(model, "greeting", None), trained["weights"]


def test_a_wrapper_of_the_users_own_is_built_round_the_model(tmp_path):
    (one,) = on_ranks(1, tmp_path / "r1", with_own_wrapper, tmp_path / "w1")
    assert one[:3] == ("LogitsModel", None, None)  # with one process there is nothing to wrap, as in MMEngine
    for each in on_ranks(2, tmp_path / "r2", with_own_wrapper, tmp_path / "w2"):
        assert each[:3] == ("Counted", 12, "hello")
        torch.testing.assert_close(each[3], one[3], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "twice"}, "updates twice in one train_step.*strategy='separate_ddp'"),
        ({"how": "backward"}, "goes backward itself.*update_params"),
        ({"strategy": {"type": "ddp", "find_unused_paramters": True}}, "Did you mean 'find_unused_parameters'"),
        ({"strategy": {"type": "ddp", "compress": "int8"}}, "strategy.compress is 'int8'"),
        ({"strategy": "dpp"}, "'dpp', which there is none of. Did you mean 'ddp'"),
        ({"strategy": "single"}, "there are 2 .*each would train a model of its own"),
        ({"cfg": {"model_wrapper_cfg": {"type": "MMDataParalel"}}}, "model_wrapper_cfg"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with Ranks(2, tmp_path / "r", steps, tmp_path / "w", **options) as ranks:
        assert all(ranks.codes())
        assert re.search(message, ranks.said(0), re.DOTALL)
