"""Hooks and optimizer wrappers in a run on several ranks, whole or in parts: the same run as on one process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.blocks import Blocks, Net
from helpers.ranks import Ranks, on_ranks
from seg_hooks.model.sharded import made_whole
from seg_runner import DefaultSampler, IoUMetric, Runner
from seg_runner.distributed.shards import is_sharded
from torch import nn

ADAMW = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1}


class Norms:
    """A hook that notes the loss and the norm of the gradients of each step."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def after_train_iter(self, runner: Any, outputs: Mapping[str, Any]) -> None:
        norm = runner.optim_wrapper.grad_norm
        assert norm is None or not is_sharded(norm)
        self.found.append((float(outputs["loss"]), 0.0 if norm is None else float(norm)))


def make(folder: Path, iters: int, hooks: list[Any], wrapper: dict[str, Any], **more: Any) -> Runner:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    order = {"sampler": {"type": DefaultSampler}, "batch_size": 8 // world, "num_workers": 0}
    val = {"sampler": {"type": DefaultSampler, "shuffle": False}, "batch_size": 2, "num_workers": 0}
    return Runner(
        model=Net(),
        loss=nn.CrossEntropyLoss(),
        work_dir=folder,
        train_dataloader={"dataset": Blocks(24), **order},
        train_cfg={"max_iters": iters, "val_interval": 4},
        optim_wrapper={"type": "OptimWrapper", "optimizer": ADAMW, **wrapper},
        param_scheduler=[{"type": "PolyLR", "power": 0.9, "by_epoch": False}],
        val_dataloader={"dataset": Blocks(7), **val},
        val_evaluator=IoUMetric(num_classes=3),
        randomness={"seed": 3},
        hooks=hooks,
        default_hooks={"logger": {"type": "LoggerHook", "interval": 2}},
        **more,
    )


def train(
    folder: Path, iters: int = 8, wrapper: Mapping[str, Any] | None = None, hooks: Any = (), **more: Any
) -> dict[str, Any]:
    """Train on this rank, and return what each step and the files of the run have."""
    norms = Norms()
    runner = make(folder, iters, [norms, *hooks], dict(wrapper or {}), **more)
    runner.train()
    metrics = runner.val()  # after which rank 0 has written the file
    saved = torch.load(runner.work_dir / f"iter_{iters}.pth", weights_only=True)
    kept = {key: saved[key] for key in ("state_dict", "ema_state_dict", "optimizer", "grads") if key in saved}
    return {"metrics": metrics, "steps": runner.world.gather(norms.found), **kept}


def compare(one: Mapping[str, Any], other: Mapping[str, Any], rtol: float = 1e-5, atol: float = 2e-6) -> None:
    """Assert that two runs are one: the mean loss of the ranks, norms, weights, averages, state, metrics."""
    assert other["metrics"] == one["metrics"]
    steps = torch.tensor(other["steps"])
    assert (steps[:, :, 1] == steps[0, :, 1]).all()
    torch.testing.assert_close(steps.mean(0), torch.tensor(one["steps"][0]), rtol=1e-4, atol=1e-5)
    for key in one.keys() - {"metrics", "steps"}:
        close(other[key], one[key], key, rtol, atol)


def close(one: Any, other: Any, path: str, rtol: float, atol: float) -> None:
    """Assert that two trees are alike: numbers and tensors nearly, everything else exactly."""
    if isinstance(one, Mapping):
        assert list(one) == list(other), path
        for key in one:
            close(one[key], other[key], f"{path}.{key}", rtol, atol)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for number, pair in enumerate(zip(one, other, strict=True)):
            close(*pair, f"{path}[{number}]", rtol, atol)
    elif isinstance(one, torch.Tensor | float):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol, msg=lambda text: f"{path}: {text}")
    else:
        assert one == other, path


EMA = {"type": "EMAHook", "momentum": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "norm": {"wrapper": {"clip_grad": {"max_norm": 0.3}}, "hooks": [EMA]},
    "value": {"wrapper": {"clip_grad": {"type": "value", "clip_value": 0.01}}, "hooks": [{"type": "NanGuardHook"}]},
    "accumulation": {"wrapper": {"accumulative_counts": 3, "clip_grad": {"max_norm": 0.3}}, "iters": 8},
    "layer decay": {
        "wrapper": {
            "constructor": "LayerDecayOptimizerConstructor",
            "paramwise_cfg": {"num_layers": 2, "decay_rate": 0.5, "decay_type": "layer_wise"},
        },
        "channels_last": True,
        "hooks": [{"type": "NanGuardHook", "policy": "skip"}, {"type": "FreezeHook", "patterns": "stem", "until": 3}],
    },
    "bf16": {"wrapper": {"type": "AmpOptimWrapper", "dtype": "bfloat16", "clip_grad": {"max_norm": 0.3}}, "iters": 4},
    "fp16": {"wrapper": {"type": "AmpOptimWrapper", "dtype": "float16", "clip_grad": {"max_norm": 0.3}}, "iters": 4},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_of_several_ranks_is_the_same_run(tmp_path: Path, case: str) -> None:
    options = CASES[case]
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", **options)
    for strategy in ("fsdp",) if case == "fp16" else ("ddp", "fsdp"):
        world = 4 if case == "norm" and strategy == "fsdp" else 2
        folder = tmp_path / strategy
        for each in on_ranks(world, folder, train, folder / "w", strategy=strategy, **options):
            if case.endswith("16"):  # sums of another order are rounded otherwise, by up to the step of AdamW
                close(each["state_dict"], one["state_dict"], case, 0.1, 0.02)
            else:
                compare(one, each)


class Counts:
    """A hook that counts how often gradients are exchanged, and how often the optimizer steps."""

    def __init__(self) -> None:
        self.exchanged = 0

    def before_train(self, runner: Any) -> None:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        def count(state: Any, bucket: torch.distributed.GradBucket) -> Any:
            self.exchanged += 1
            return allreduce_hook(state, bucket)

        count.__annotations__.clear()  # which torch compares as objects
        runner.model.register_comm_hook(None, count)


def exchanges(folder: Path) -> tuple[int, int]:
    """Train with accumulation on this rank; return how often gradients were exchanged, and optimizer steps."""
    counts = Counts()
    runner = make(folder, 8, [counts], {"accumulative_counts": 3})
    runner.train()
    return counts.exchanged, runner.optim_wrapper.step_count


def test_gradients_are_exchanged_once_an_update(tmp_path: Path) -> None:
    assert on_ranks(2, tmp_path / "r", exchanges, tmp_path / "w") == [(3, 3)] * 2


class Pair(nn.Module):
    """Two nets that learn from one another in turns, each by an optimizer of its own, as those of a GAN do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator, self.critic = nn.Sequential(nn.Conv2d(3, 3, 1)), nn.Sequential(nn.Conv2d(3, 1, 1))

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        images = torch.stack(list(data[0]))
        with optim_wrapper["critic"].optim_context(self.critic):
            judged = (self.critic(self.generator(images).detach()) ** 2).mean()
        optim_wrapper["critic"].update_params(judged)
        with optim_wrapper["generator"].optim_context(self.generator):
            made = (self.critic(self.generator(images)) - 1).square().mean()
        optim_wrapper["generator"].update_params(made)
        return {"loss": (judged + made).detach()}


def train_pair(folder: Path, iters: int = 6, **more: Any) -> dict[str, Any]:
    """Train the pair on this rank."""
    from seg_optim import OptimWrapper, OptimWrapperDict

    net, world = Pair(), int(os.environ.get("WORLD_SIZE", "1"))
    parts = {"generator": net.generator, "critic": net.critic}
    runner = Runner(
        model=net,
        work_dir=folder,
        train_dataloader={
            "dataset": Blocks(24),
            "sampler": {"type": DefaultSampler},
            "batch_size": 8 // world,
            "num_workers": 0,
        },
        train_cfg={"max_iters": iters},
        optim_wrapper=OptimWrapperDict(
            **{key: OptimWrapper(torch.optim.SGD(part.parameters(), 0.1)) for key, part in parts.items()}
        ),
        randomness={"seed": 3},
        hooks=[EMA],
        **more,
    )
    runner.train()
    runner.world.gather(None)  # after which rank 0 has written the file
    saved = torch.load(folder / f"iter_{iters}.pth", weights_only=True)
    return {key: saved[key] for key in ("state_dict", "ema_state_dict", "optimizer")}


def test_parts_that_update_by_themselves_keep_their_names(tmp_path: Path) -> None:
    (one,) = on_ranks(1, tmp_path / "r1", train_pair, tmp_path / "w1")
    for each in on_ranks(2, tmp_path / "r2", train_pair, tmp_path / "w2", strategy="separate_ddp"):
        close(each, one, "", 1e-5, 1e-7)
    on_ranks(2, tmp_path / "r3", train_pair, tmp_path / "w3", 3, strategy="separate_ddp")
    again = {"strategy": "separate_ddp", "resume": str(tmp_path / "w3" / "iter_3.pth")}
    for each in on_ranks(2, tmp_path / "r4", train_pair, tmp_path / "w4", **again):
        close(each, one, "", 1e-5, 1e-7)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_several_optimizers_need_another_strategy(tmp_path: Path, strategy: str) -> None:
    with Ranks(2, tmp_path / "r", train_pair, tmp_path / "w", strategy=strategy) as ranks:
        assert all(ranks.codes())
        assert "there are several optimizers" in ranks.said(0)
        assert "strategy='separate_ddp'" in ranks.said(0)


def test_a_run_goes_on_in_the_middle_of_an_accumulation(tmp_path: Path) -> None:
    saves = {"type": "CheckpointHook", "interval": 5, "by_epoch": False}
    sgd = {"type": "SGD", "lr": 0.05, "momentum": 0.9}  # AdamW makes a step of any gradient, however small
    options: dict[str, Any] = {"wrapper": {"accumulative_counts": 3, "optimizer": sgd}, "hooks": [EMA, saves]}
    (one,) = on_ranks(1, tmp_path / "r1", train, tmp_path / "w1", **options)
    for first in ("ddp", "fsdp"):
        on_ranks(2, tmp_path / first, train, tmp_path / first / "w", strategy=first, **options)
    for first, world, strategy in (("ddp", 1, None), ("ddp", 2, "fsdp"), ("fsdp", 2, "ddp")):
        folder, file = tmp_path / f"{first}{strategy}", str(tmp_path / first / "w" / "iter_5.pth")
        for each in on_ranks(world, folder, train, folder / "w", strategy=strategy, resume=file, **options):
            for key in ("state_dict", "ema_state_dict"):
                close(each[key], one[key], key, 1e-5, 2e-6)
            close(each["optimizer"]["state"], one["optimizer"]["state"], "optimizer", 1e-5, 2e-6)


class Spoilt(Blocks):
    """Images of which one is not finite; its rank alone sees that."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = super().__getitem__(index)
        return image * (float("inf") if index == 7 else 1), label


def guarded(folder: Path, policy: str, strategy: str) -> tuple[int, dict[str, torch.Tensor]]:
    """Train with a spoilt image on this rank; return how many steps were bad, and the weights."""
    from seg_hooks import CheckpointHook, NanGuardHook

    guard = NanGuardHook(policy=policy)
    hooks = [guard, CheckpointHook(interval=1, by_epoch=False)]
    runner = make(folder, 8, hooks, {}, strategy=strategy, skip_checks=True)
    runner.arguments["train_dataloader"]["dataset"] = Spoilt(24)
    runner.train()
    whole = {name: made_whole(one.detach()) for name, one in runner.model.module.named_parameters()}
    log = next(runner.log_dir.glob(f"*_rank{runner.rank}.log" if runner.rank else "*[0-9].log"))
    return log.read_text(encoding="utf-8").count(f"policy={policy!r}: bad step"), whole


@pytest.mark.parametrize(("policy", "strategy"), [("skip", "ddp"), ("skip", "fsdp"), ("rollback", "fsdp")])
def test_a_bad_step_of_one_rank_is_one_of_all(tmp_path: Path, policy: str, strategy: str) -> None:
    found = on_ranks(2, tmp_path / "r", guarded, tmp_path / "w", policy, strategy)
    assert found[0][0] == found[1][0] > 0
    for name, weight in found[0][1].items():
        assert torch.isfinite(weight).all()
        assert torch.equal(weight, found[1][1][name])


def test_pictures_and_best_files_of_a_model_in_parts(tmp_path: Path) -> None:
    hooks = [
        {"type": "SegVisualizationHook", "draw": True, "interval": 1},
        {"type": "CheckpointHook", "interval": 2, "by_epoch": False, "save_best": "mIoU", "max_keep_ckpts": 1},
        EMA,
    ]
    local = {"type": "SegLocalVisualizer", "vis_backends": [{"type": "LocalVisBackend"}]}
    folder = tmp_path / "w"
    on_ranks(2, tmp_path / "r", train, folder, 4, hooks=hooks, visualizer=local, strategy="fsdp")
    assert min(path.name for path in folder.rglob("*.png")) == "val_0_4.png"
    assert sorted(path.name for path in folder.glob("*.pth")) == ["best_mIoU_iter_4.pth", "iter_4.pth"]
