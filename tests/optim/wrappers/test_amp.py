"""AmpOptimWrapper on the CPU: number formats, scaling, skipped steps, state."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from seg_optim import AmpOptimWrapper, ApexOptimWrapper, OptimWrapper, PolyLR, build_optim_wrapper
from torch import nn


def made(net: nn.Module, **options: Any) -> AmpOptimWrapper:
    return AmpOptimWrapper(optimizer=torch.optim.SGD(net.parameters(), lr=0.1), **options)


def step(wrapper: AmpOptimWrapper, net: nn.Module, scale: float = 1.0) -> torch.dtype:
    with wrapper.optim_context(net):
        out = net(torch.ones(2, 3))
    wrapper.update_params(out.float().mean() * scale)
    return out.dtype


@pytest.mark.parametrize(
    ("dtype", "expected", "scaled"),
    [
        (None, torch.bfloat16, False),
        ("bfloat16", torch.bfloat16, False),
        (torch.bfloat16, torch.bfloat16, False),
        ("float16", torch.float16, True),
        ("float32", torch.float32, False),
        ("float64", torch.float32, False),
    ],
)
def test_formats_on_the_cpu(dtype: Any, expected: torch.dtype, scaled: bool) -> None:
    net = nn.Linear(3, 2)
    before = net.weight.detach().clone()
    wrapper = made(net, dtype=dtype)
    assert step(wrapper, net) is expected
    assert (wrapper.scaler is not None) is scaled
    assert not torch.equal(net.weight, before)


def test_a_config_for_cuda_runs_without_and_says_once_what_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Linear(3, 2)
    with caplog.at_level(logging.INFO, logger="seg_optim"):
        wrapper = build_optim_wrapper(
            net, {"type": "AmpOptimWrapper", "loss_scale": "dynamic", "optimizer": {"type": "AdamW", "lr": 0.1}}
        )
        for _ in range(3):
            step(wrapper, net)
    assert [record.message for record in caplog.records] == [
        "AmpOptimWrapper: bfloat16 on cpu needs no loss scaling, so loss_scale is not used"
    ]
    assert "loss_scaler" not in wrapper.state_dict()


@pytest.mark.parametrize("loss_scale", [8, 8.0, {"init_scale": 8.0}, "dynamic"])
def test_scales(loss_scale: Any) -> None:
    net = nn.Linear(3, 2)
    wrapper = made(net, dtype="float16", loss_scale=loss_scale)
    step(wrapper, net)
    assert wrapper.scaler is not None
    assert wrapper.scaler.get_scale() == (65536.0 if loss_scale == "dynamic" else 8.0)
    assert wrapper.skipped_steps == 0


def test_scaling_can_be_switched_off() -> None:
    assert made(nn.Linear(3, 2), dtype="float16", loss_scale={"enabled": False}).scaler is None


def test_a_skipped_step_is_counted_and_visible() -> None:
    net = nn.Linear(3, 2)
    wrapper = made(net, dtype="float16", loss_scale="dynamic", clip_grad={"max_norm": 1.0})
    before = net.weight.detach().clone()
    step(wrapper, net, scale=float("inf"))
    assert torch.equal(net.weight, before)
    step(wrapper, net)
    assert not torch.equal(net.weight, before)
    assert (wrapper.step_count, wrapper.skipped_steps) == (2, 1)
    assert wrapper.scaler is not None
    assert wrapper.scaler.get_scale() == 32768.0


@pytest.mark.parametrize("kind", ["AdamW", "RMSprop"], ids=["fused", "not fused"])
def test_a_schedule_of_steps_counts_alike_where_one_is_skipped(kind: str) -> None:
    net = nn.Linear(3, 2)
    cfg = {"type": "AmpOptimWrapper", "dtype": "float16", "optimizer": {"type": kind, "lr": 0.1}}
    wrapper = build_optim_wrapper(net, cfg)
    assert bool(wrapper.optimizer.param_groups[0].get("fused")) is (kind == "AdamW")
    assert isinstance(wrapper, AmpOptimWrapper)
    schedule = PolyLR(wrapper, end=11, by_epoch=False, unit="step")
    before = net.weight.detach().clone()
    for number, scale in enumerate((float("inf"), 1.0)):
        step(wrapper, net, scale)
        schedule.step()
        assert torch.equal(net.weight, before) is (number == 0)
    assert (wrapper.step_count, wrapper.skipped_steps) == (2, 1)
    assert wrapper.get_lr()["lr"] == [pytest.approx(0.08)]


def test_a_fixed_scale_stays_after_a_skipped_step() -> None:
    net = nn.Linear(3, 2)
    wrapper = made(net, dtype="float16", loss_scale=16)
    step(wrapper, net, scale=float("inf"))
    assert wrapper.scaler is not None
    assert (wrapper.scaler.get_scale(), wrapper.skipped_steps) == (16.0, 1)


def test_clipping_sees_unscaled_gradients() -> None:
    net = nn.Linear(3, 2, bias=False)
    wrapper = made(net, dtype="float16", loss_scale=64, clip_grad={"max_norm": 100.0})
    step(wrapper, net)
    assert float(wrapper.grad_norm) == pytest.approx((6 * 0.5**2) ** 0.5, rel=1e-3)


def test_the_scaler_is_part_of_the_state() -> None:
    net = nn.Linear(3, 2)
    wrapper, other = made(net, dtype="float16"), made(net, dtype="float16")
    step(wrapper, net, scale=float("inf"))
    state = wrapper.state_dict()
    assert state["loss_scaler"]["scale"] == 32768.0
    step(other, net)
    other.load_state_dict(state)
    assert other.scaler is not None
    assert other.scaler.get_scale() == 32768.0
    without = {key: value for key, value in state.items() if key != "loss_scaler"}
    made(net, dtype="float16").load_state_dict(without)
    made(net, dtype="bfloat16").load_state_dict(state)
    OptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1)).load_state_dict(without)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"loss_scale": "static"}, TypeError, "'dynamic', a number or a dict"),
        ({"loss_scale": True}, TypeError, "True"),
        ({"loss_scale": None}, TypeError, "None"),
        ({"loss_scale": -1}, ValueError, "loss_scale=-1: a finite number above 0"),
        ({"loss_scale": float("nan")}, ValueError, "loss_scale=nan"),
        ({"loss_scale": {"growth": 3}}, TypeError, "GradScaler.* has no argument 'growth'"),
        ({"dtype": "fp16"}, ValueError, "float16"),
        ({"dtype": torch.int8}, ValueError, "float16"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        made(nn.Linear(3, 2), **options)


def test_lbfgs_needs_no_scaler() -> None:
    net = nn.Linear(3, 2)
    wrapper = AmpOptimWrapper(optimizer=torch.optim.LBFGS(net.parameters()), dtype="float16")
    with pytest.raises(ValueError, match="bfloat16"):
        step(wrapper, net)


def test_apex_says_what_to_use() -> None:
    with pytest.raises(NotImplementedError, match="AmpOptimWrapper"):
        ApexOptimWrapper(optimizer=None, opt_level="O1")
    cfg = {"type": "ApexOptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}}
    with pytest.raises(NotImplementedError, match="AmpOptimWrapper"):
        build_optim_wrapper(nn.Linear(1, 1), cfg)
