"""`compile=dict(mode='graph')` with hooks, wrappers and schedules: a run ends as the same run without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, EMAHook, LoggerHook, NanGuardHook, ParamSchedulerHook, RuntimeInfoHook
from seg_optim import AmpOptimWrapper, CosineAnnealingLR, OptimWrapper
from seg_runner import IoUMetric, Runner, read_checkpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

GRAPH = {"mode": "graph", "stand_in": True}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 3, 1)
    )


def is_bad(labels: torch.Tensor) -> torch.Tensor:
    """Tell of some batches that they are bad, by their labels alone."""
    return (labels[0, 0, 0] == 2) & (labels[0, 0, 1] != 1)


class Loss(nn.CrossEntropyLoss):
    """Is not a number for bad batches."""

    bad = False

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = super().forward(logits, labels)
        return loss * torch.where(is_bad(labels), float("nan"), 1.0) if self.bad else loss


def make(folder: Path, compiled: Any, *, hooks: Any = None, wrapper: Any = None, bad: bool = False, **more: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (16, 8, 8), generator=generator)
    images = labels[:, None].float().expand(-1, 3, -1, -1) + torch.randn(16, 3, 8, 8, generator=generator) / 4
    model, kind, options = net(), *(wrapper or (OptimWrapper, {"clip_grad": {"max_norm": 0.5}}))
    wrapped = kind(optimizer=torch.optim.AdamW(model.parameters(), 0.05, fused=True), **options)
    loss = Loss()
    loss.bad = bad
    parts: dict[str, Any] = {
        "loss": loss,
        "train_dataloader": DataLoader(TensorDataset(images, labels), batch_size=4, shuffle=True),
        "optim_wrapper": wrapped,
        "param_scheduler": CosineAnnealingLR(wrapped, T_max=24, by_epoch=False),
        "val_dataloader": DataLoader(TensorDataset(images, labels), batch_size=4),
        "val_evaluator": IoUMetric(num_classes=3),
        "train_cfg": {"max_iters": 24, "val_interval": 8},
        "randomness": {"seed": 1},
        "hooks": [
            RuntimeInfoHook(),
            ParamSchedulerHook(),
            LoggerHook(interval=6),
            *(hooks or [EMAHook(begin_iter=3)]),
            CheckpointHook(interval=2, by_epoch=False),
        ],
        "work_dir": folder,
        "compile": compiled,
        "device": "cpu",
    }
    return Runner(model, **{**parts, **more})


def assert_same(one: Path, other: Path) -> None:
    found = [read_checkpoint(folder / "iter_24.pth") for folder in (one, other)]
    for part in ("state_dict", "ema_state_dict"):
        left, right = (each.get(part, {}) for each in found)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left), part
    states = [each["optimizer"]["state"] for each in found]
    assert all(torch.equal(states[0][i][name], states[1][i][name]) for i in states[0] for name in states[0][i])
    logged = [each["message_hub"]["log_scalars"] for each in found]
    for name in ("train/loss", "train/lr", "val/mIoU"):
        assert repr(logged[0][name]) == repr(logged[1][name])  # a NaN equals no other
    assert not any("_orig_mod" in name for name in found[1]["state_dict"])


@pytest.mark.parametrize("wrapper", [None, (AmpOptimWrapper, {"dtype": "bfloat16"})], ids=["clipped", "bf16"])
def test_averages_clipping_schedules_and_bf16(tmp_path: Path, wrapper: Any) -> None:
    make(tmp_path / "plain", False, wrapper=wrapper).train()
    runner = make(tmp_path / "graph", GRAPH, wrapper=wrapper)
    runner.train()
    assert runner.model.train_step.captured == 1
    assert runner.optim_wrapper.step_count == runner.optim_wrapper.inner_count == 24
    assert_same(tmp_path / "plain", tmp_path / "graph")


def test_a_resumed_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    make(tmp_path / "plain", False).train()
    make(tmp_path / "graph", GRAPH, train_cfg={"max_iters": 16, "val_interval": 8}).train()
    make(tmp_path / "graph", GRAPH, resume=True).train()
    assert_same(tmp_path / "plain", tmp_path / "graph")


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_steps_that_are_not_finite(tmp_path: Path, policy: str) -> None:
    found = []
    for name, compiled in (("plain", False), ("graph", {**GRAPH, "warm_up": 1})):
        guard = NanGuardHook(policy=policy, max_times=20)
        runner = make(tmp_path / name, compiled, hooks=[guard, EMAHook()], bad=True)
        runner.train()
        found.append(guard.bad_steps)
    assert found[0] == found[1]
    assert found[0] > 1 or policy == "skip"  # which counts those in a row
    assert runner.model.train_step.captured == 1 or policy == "rollback"  # which may have been in the last steps
    assert_same(tmp_path / "plain", tmp_path / "graph")


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(labels)
            return logits.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:
            (labels,) = ctx.saved_tensors
            return gradient / (~is_bad(labels)).float(), None

    class Hidden(nn.CrossEntropyLoss):
        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return super().forward(Overflow.apply(logits, labels), labels)

    steps = []
    for name, compiled in (("plain", False), ("graph", {**GRAPH, "warm_up": 1})):
        runner = make(tmp_path / name, compiled, hooks=[NanGuardHook()], loss=Hidden(), wrapper=(OptimWrapper, {}))
        with pytest.raises(FloatingPointError, match="the gradient"):
            runner.train()
        steps.append(runner.iter)
    assert steps[0] == steps[1]
    assert runner.model.train_step.captured == 1
