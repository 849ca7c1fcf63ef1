"""Wrappers in a plain loop on several ranks: DDP and DistributedSampler, and no runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from seg_optim import (
    AmpOptimWrapper,
    LinearLR,
    OptimWrapper,
    build_optim_wrapper,
    layer_decay_param_groups,
    param_groups,
)
from seg_optim.wrappers.clipping import clipper
from torch import Tensor, distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

DATA = torch.randn(48, 4, generator=torch.Generator().manual_seed(5))


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1))


def counted(model: DistributedDataParallel) -> list[int]:
    """Count the exchanges of gradients; all of this small model's fit one."""
    calls: list[int] = []

    def hook(state, bucket):  # torch takes no annotations but its own, and these are text here
        calls.append(len(bucket.gradients()))
        return allreduce_hook(state, bucket)

    model.register_comm_hook(None, hook)
    return calls


def train(kind: type[OptimWrapper], options: dict[str, Any], steps: int = 7, **ddp: Any) -> dict[str, Any]:
    """Make micro-steps of eight samples over all ranks; three make an update, the last window is shorter."""
    distributed.init_process_group("gloo")
    net = DistributedDataParallel(make_net(), **ddp)
    exchanges = counted(net)
    wrapper = kind(
        optimizer=torch.optim.SGD(net.parameters(), 0.5), accumulative_counts=3, clip_grad={"max_norm": 0.5}, **options
    )
    wrapper.initialize_count_status(net, 0, steps)
    warm_up = LinearLR(wrapper, start_factor=0.1, begin=0, end=4, by_epoch=False)
    sampler = DistributedSampler(DATA, shuffle=True, seed=3)
    loader = DataLoader(DATA, 8 // distributed.get_world_size(), sampler=sampler)
    norms, done = [], 0
    while done < steps:
        sampler.set_epoch(done)
        for batch in loader:
            with wrapper.optim_context(net):
                loss = net(batch).square().mean()
            before = wrapper.step_count
            wrapper.update_params(loss)
            if wrapper.step_count > before:
                norms.append(float(wrapper.grad_norm))
            warm_up.step()
            done += 1
            if done == steps:
                break
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    return {"weights": weights, "norms": norms, "exchanges": len(exchanges), "updates": wrapper.step_count}


KINDS = pytest.mark.parametrize(
    ("kind", "options", "close"),
    [(OptimWrapper, {}, 1e-5), (AmpOptimWrapper, {"dtype": "bfloat16", "loss_scale": 1}, 2e-2)],
)


@KINDS
def test_accumulation_exchanges_once_an_update_and_ends_as_one_process(kind, options, close, tmp_path):
    (one,) = on_ranks(1, tmp_path / "1", train, kind, options)
    first, second = on_ranks(2, tmp_path / "2", train, kind, options)
    assert first["updates"] == one["updates"] == 3
    assert first["exchanges"] == 3
    assert first["norms"] == second["norms"] == pytest.approx(one["norms"], rel=close)
    for mine, other, alone in zip(first["weights"], second["weights"], one["weights"], strict=True):
        assert torch.equal(mine, other)
        torch.testing.assert_close(mine, alone, rtol=close, atol=close / 10)


def test_a_static_graph_is_learned_in_a_pass_that_is_exchanged(tmp_path):
    plain = on_ranks(2, tmp_path / "plain", train, OptimWrapper, {})
    static = on_ranks(2, tmp_path / "static", train, OptimWrapper, {}, static_graph=True)
    assert static[0]["exchanges"] == 3 + 1  # in the very first pass, where torch would break off without one
    for mine, other, expected in zip(static[0]["weights"], static[1]["weights"], plain[0]["weights"], strict=True):
        assert torch.equal(mine, other)
        torch.testing.assert_close(mine, expected)


BAD = float("nan")
GRADS = {"w": [[3.0, -4.0]], "b": [0.5], "long": [[1.0], [2.0], [-9.0]]}


def clip_in_parts(clip_grad: dict[str, Any], grads: dict[str, Any]) -> dict[str, Any]:
    """Clip gradients of which each rank has some rows, and of some none."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    held = []
    for values in grads.values():
        whole = torch.tensor(values)
        one = nn.Parameter(distribute_tensor(torch.ones_like(whole), mesh, [Shard(0)]))
        one.grad = distribute_tensor(whole, mesh, [Shard(0)])
        held.append(one)
    norm = clipper(clip_grad)(held)
    return {"norm": norm, "grads": [one.grad.full_tensor() for one in held]}


@pytest.mark.parametrize(
    ("clip_grad", "grads"),
    [
        ({"max_norm": 1.0, "norm_type": "inf"}, GRADS),
        ({"max_norm": 100.0, "norm_type": float("inf")}, GRADS),
        ({"max_norm": 1.0, "norm_type": "inf", "foreach": False}, {"w": [[3.0, -4.0]]}),
        ({"max_norm": 1.0, "norm_type": "inf"}, {**GRADS, "w": [[BAD, 1.0]]}),
        ({"max_norm": 1.0, "norm_type": "inf"}, {**GRADS, "long": [[1.0], [2.0], [BAD]]}),
        ({"max_norm": 1.0, "norm_type": 1.0}, GRADS),
    ],
)
def test_gradients_in_parts_are_clipped_as_whole_ones(tmp_path, clip_grad, grads):
    held = [nn.Parameter(torch.ones_like(torch.tensor(values))) for values in grads.values()]
    for one, values in zip(held, grads.values(), strict=True):
        one.grad = torch.tensor(values)
    norm = clipper(clip_grad)(held)
    for each in on_ranks(2, tmp_path / "2", clip_in_parts, clip_grad, grads):
        torch.testing.assert_close(each["norm"], norm, rtol=0, atol=0, equal_nan=True)
        for mine, alone in zip(each["grads"], held, strict=True):
            torch.testing.assert_close(mine, alone.grad, rtol=0, atol=0, equal_nan=True)


class Switches(nn.Module):
    """Uses other parts in each pass, as one with dropped layers does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({name: nn.Linear(2, 1) for name in "abc"})

    def forward(self, x: Tensor, used: str) -> Tensor:
        return torch.stack([self.parts[name](x).sum() for name in used]).sum()


def accumulate(passes: list[tuple[str, str]], exchange_all: bool) -> list[float | None]:
    """Return the gradients at the end of a window of several passes, which each rank makes with parts of its own."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    net = DistributedDataParallel(Switches(), find_unused_parameters=True)
    wrapper = OptimWrapper(torch.optim.SGD(net.parameters(), 1.0), accumulative_counts=len(passes))
    if exchange_all:
        wrapper.should_sync = lambda: True
    found: list[float | None] = []
    grads = (parameter.grad for parameter in net.parameters())
    wrapper.zero_grad = lambda: found.extend(grad if grad is None else float(grad.sum()) for grad in grads)
    for number, used in enumerate(passes):
        with wrapper.optim_context(net):
            loss = net(torch.full((1, 2), float(number + rank + 1)), used[rank])
        wrapper.update_params(loss)
    return found


@pytest.mark.parametrize(
    "passes",
    [
        [("ab", "ab"), ("a", "a")],  # pytorch#69031: b is used only where nothing is exchanged
        [("a", "ab"), ("a", "a")],
        [("ab", "a"), ("a", "ac"), ("b", "a")],
    ],
)
def test_parts_that_the_last_pass_of_a_window_does_not_use_are_exchanged_too(passes, tmp_path):
    first, second = on_ranks(2, tmp_path / "no_sync", accumulate, passes, exchange_all=False)
    assert first == second
    assert first == pytest.approx(on_ranks(2, tmp_path / "sync", accumulate, passes, exchange_all=True)[0])


# ------------------------------------------------------------------------------------------------------------- groups


class TinyViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.patch_embed = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(3))
        self.head = nn.Linear(4, 2)


CONFIG = {
    "type": "OptimWrapper",
    "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
    "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}},
}


def described(groups: list[dict[str, Any]], net: nn.Module) -> list[Any]:
    """Groups with the names of their parameters in the bare model."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return [{**group, "params": [names[id(parameter)] for parameter in group["params"]]} for group in groups]


def make_groups() -> list[tuple[Any, Any]]:
    distributed.init_process_group("gloo")
    found = []
    for make in (
        lambda model: param_groups(model, lr=1e-3, weight_decay=0.05, paramwise_cfg={"norm_decay_mult": 0.0}),
        lambda model: layer_decay_param_groups(model, lr=1e-3, weight_decay=0.05, decay_rate=0.7),
        lambda model: build_optim_wrapper(model, CONFIG).optimizer.param_groups,
    ):
        net = TinyViT()
        found.append((described(make(DistributedDataParallel(net)), net), described(make(net), net)))
    net = TinyViT()
    wrapped = build_optim_wrapper(DistributedDataParallel(net), CONFIG)
    found.append((str(wrapped.state_dict()), str(build_optim_wrapper(net, CONFIG).state_dict())))
    return found


def test_groups_of_a_wrapped_model_are_those_of_the_bare_one(tmp_path: Path):
    for found in on_ranks(2, tmp_path, make_groups):
        for wrapped, bare in found:
            assert wrapped == bare
