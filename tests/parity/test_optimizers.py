"""Optimizers of other libraries, installed for real: by the names of MMEngine, by class, and their states."""

from __future__ import annotations

import copy
import importlib
import importlib.util
from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from seg_optim import PolyLR, build_optim_wrapper
from seg_optim.wrappers.optional_optimizers import LIBRARIES
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore")
ABOVE_ONE_RATE = ("Prodigy", "DAdaptAdam", "DAdaptSGD")
"""They find the rate themselves, and refuse groups with rates of their own."""
NEEDS_MOMENTUM = ("LARS", "SGD", "PytorchLARS")
BROKEN = ("AdEMAMix32bit", "PagedAdEMAMix32bit")
"""bitsandbytes 0.50 mixes up the moments of these on the CPU; they can be built, and their own error comes through."""


def made(kind: Any, name: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    base = name.removeprefix("bnb_").removesuffix("32bit").removesuffix("8bit")
    adaptive = name.startswith("DAdapt") or name == "Prodigy"
    optimizer = {"type": kind, "lr": 1.0 if adaptive else 0.003, "weight_decay": 0.001}
    optimizer |= {"momentum": 0.9} if base in NEEDS_MOMENTUM else {}
    rules: dict[str, Any] = {"norm_decay_mult": 0.0}
    if name not in ABOVE_ONE_RATE:
        rules["custom_keys"] = {"3.": {"lr_mult": 2.0}}
    return net, build_optim_wrapper(net, {"optimizer": optimizer, "paramwise_cfg": rules, "clip_grad": {"max_norm": 9}})


def train(net: nn.Module, wrapper: Any, steps: int) -> list[float]:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(steps):
        with wrapper.optim_context(net):
            loss = (net(images) - 1).square().mean()
        losses.append(loss.item())
        wrapper.update_params(loss)
    return losses


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_by_name_and_by_class(name: str) -> None:
    library, attribute, _ = LIBRARIES[name]
    if importlib.util.find_spec(library.partition(".")[0]) is None:
        pytest.skip(f"{library} is not installed here")
    kind = getattr(importlib.import_module(library), attribute)
    if name in BROKEN:
        with pytest.raises(RuntimeError, match="broadcast"):
            train(*made(name, name), 1)
        return
    net, wrapper = made(name, name)
    twin, other = made(kind, name)
    assert type(wrapper.optimizer) is type(other.optimizer) is kind
    schedule = None if name in ABOVE_ONE_RATE else PolyLR(wrapper, end=200, by_epoch=False)
    losses = train(net, wrapper, 10)
    assert min(losses) < losses[0]
    twin.load_state_dict(net.state_dict())
    other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    assert train(net, wrapper, 3) == train(twin, other, 3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    if schedule is not None:
        schedule.step()
        assert wrapper.get_lr()["lr"][0] < wrapper.optimizer.param_groups[0]["initial_lr"]


def test_every_name_that_mmengine_registers_is_known() -> None:
    registry = pytest.importorskip("mmengine.registry").OPTIMIZERS
    ours = {point.name for point in entry_points(group="seg_engine.optimizers")}
    assert set(registry.module_dict) - ours <= {"Optimizer"}  # the abstract class
