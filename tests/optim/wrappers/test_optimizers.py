"""Every optimizer of torch.optim on a small convolutional net, two in one, implementations, names."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_optim import PolyLR, build_optim_wrapper
from seg_optim.groups.split_optimizer import SplitOptimizer, hidden_matrices
from torch import Tensor, nn

ORDINARY = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]
NEWER = {"Adafactor", "Muon"}  # torch has them from 2.5 and 2.9 on
RULES = {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}}


def loss_of(net: nn.Module, images: Tensor) -> Tensor:
    return (net(images) - 1).square().mean()


def test_every_optimizer_of_torch_is_tested_here() -> None:
    known = {
        name
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
    assert known | NEWER == {*ORDINARY, "LBFGS", "Muon", "SparseAdam", "Optimizer"}


@pytest.mark.parametrize("name", sorted(NEWER))
def test_an_optimizer_that_this_torch_lacks_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, name, raising=False)
    told = rf"type='{name}': torch \S+ has no torch\.optim\.{name}: take another one, or a newer torch"
    with pytest.raises(KeyError, match=told):
        build_optim_wrapper(nn.Linear(2, 2), {"optimizer": {"type": name, "lr": 0.1}})


@pytest.mark.parametrize(
    "kind", [name for name in [*ORDINARY, "TorchAdafactor"] if hasattr(torch.optim, name.removeprefix("Torch"))]
)
def test_ordinary_optimizers_learn_with_rules(kind: str, convnet: nn.Module, images: Callable[[int], Tensor]) -> None:
    optimizer = {"type": kind, "lr": 0.01} | ({} if kind == "Rprop" else {"weight_decay": 0.001})
    rules = {"custom_keys": {"head": {"lr_mult": 2.0}}} if kind == "Rprop" else RULES
    wrapper = build_optim_wrapper(
        convnet, {"optimizer": optimizer, "paramwise_cfg": rules, "clip_grad": {"max_norm": 10}}
    )
    schedule = PolyLR(wrapper, end=50, by_epoch=False)
    first = loss_of(convnet, images(0)).item()
    for _ in range(25):
        with wrapper.optim_context(convnet):
            loss = loss_of(convnet, images(0))
        wrapper.update_params(loss)
        schedule.step()
    assert loss.item() < first
    state = copy.deepcopy(wrapper.state_dict())
    wrapper.load_state_dict(state)
    wrapper.update_params(loss_of(convnet, images(0)))


def test_lbfgs_by_config(convnet: nn.Module, images: Callable[[int], Tensor]) -> None:
    wrapper = build_optim_wrapper(convnet, {"optimizer": {"type": "LBFGS", "lr": 0.5}})
    convnet.eval()

    def closure() -> Tensor:
        wrapper.zero_grad()
        loss = loss_of(convnet, images(0))
        loss.backward()
        return loss

    first = loss_of(convnet, images(0))
    wrapper.update_params(first, step_kwargs={"closure": closure})
    assert loss_of(convnet, images(0)).item() < first.item()
    with pytest.raises(ValueError, match="LBFGS takes one group"):
        build_optim_wrapper(
            convnet,
            {"optimizer": {"type": "LBFGS", "lr": 0.5}, "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 2.0}}}},
        )
    with pytest.raises(ValueError, match="cannot accumulate"):
        build_optim_wrapper(convnet, {"optimizer": {"type": "LBFGS"}, "accumulative_counts": 2})


def test_sparse_adam_names_the_dense_parameters() -> None:
    net = nn.ModuleDict({"table": nn.Embedding(4, 2, sparse=True), "head": nn.Linear(2, 1)})
    with pytest.raises(ValueError, match=r"dense: head\.weight, head\.bias$"):
        build_optim_wrapper(net, {"optimizer": {"type": "SparseAdam", "lr": 0.1}})
    wrapper = build_optim_wrapper(net["table"], {"optimizer": {"type": "SparseAdam", "lr": 0.1}})
    before = net["table"].weight.detach().clone()
    wrapper.update_params(net["table"](torch.tensor([1])).sum())
    assert (net["table"].weight != before).any(dim=1).tolist() == [False, True, False, False]


def test_sparse_gradients_are_not_fused() -> None:
    net = nn.Embedding(4, 2, sparse=True)
    wrapper = build_optim_wrapper(net, {"optimizer": {"type": "SGD", "lr": 0.1}})
    wrapper.update_params(net(torch.tensor([1])).sum())
    assert not wrapper.optimizer.param_groups[0]["fused"]


MUON = {"type": "Muon", "lr": 0.02, "weight_decay": 0.1, "rest": {"type": "AdamW", "lr": 0.001, "weight_decay": 0.05}}
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")


@needs_muon
def test_muon_and_the_rest_are_one_wrapper_with_one_schedule(vit: nn.Module) -> None:
    rules = {"norm_decay_mult": 0.0, "custom_keys": {"blocks.0": {"lr_mult": 0.5}}}
    wrapper = build_optim_wrapper(vit, {"optimizer": MUON, "paramwise_cfg": rules})
    assert isinstance(wrapper.optimizer, SplitOptimizer)
    assert hidden_matrices(vit) == {f"blocks.{i}.fc.weight" for i in range(3)}
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in wrapper.optimizer.param_groups] == [
        ("base", 0.02, 0.1),
        ("lr_x0.5", 0.01, 0.1),
        ("rest_base", 0.001, 0.05),
        ("rest_lr_x0.5", 0.0005, 0.05),
        ("rest_no_decay", 0.001, 0.0),
    ]
    assert sum(len(g["params"]) for g in wrapper.optimizer.param_groups) == len(list(vit.parameters()))
    schedule = PolyLR(wrapper, end=21, by_epoch=False)
    losses = []
    for _ in range(10):
        loss = vit(torch.ones(2, 4)).square().mean()
        losses.append(loss.item())
        wrapper.update_params(loss)
        schedule.step()
    assert losses[-1] < losses[0]
    assert [g["lr"] for g in wrapper.optimizer.param_groups] == pytest.approx([0.01, 0.005, 0.0005, 0.00025, 0.0005])


@needs_muon
def test_the_state_of_two_in_one_goes_on_exactly(vit: nn.Module) -> None:
    twin = copy.deepcopy(vit)
    wrappers = [build_optim_wrapper(net, {"optimizer": MUON}) for net in (vit, twin)]
    for step in range(4):
        if step == 2:
            wrappers[1].load_state_dict(copy.deepcopy(wrappers[0].state_dict()))
        for net, wrapper in zip((vit, twin), wrappers, strict=True):
            wrapper.update_params(net(torch.ones(2, 4)).square().mean())
    assert all(torch.equal(a, b) for a, b in zip(vit.parameters(), twin.parameters(), strict=True))


@needs_muon
def test_muon_needs_a_rest_for_what_is_not_a_matrix(
    vit: nn.Module, convnet: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r"optimizer\.rest=dict.*cls_token"):
        build_optim_wrapper(vit, {"optimizer": {"type": "Muon", "lr": 0.02}})
    with pytest.raises(ValueError, match="only Muon"):
        build_optim_wrapper(vit, {"optimizer": {**MUON, "type": "SGD"}})
    alone = build_optim_wrapper(nn.Linear(2, 2, bias=False), {"optimizer": {"type": "Muon", "lr": 0.02}})
    assert type(alone.optimizer) is torch.optim.Muon
    wrapper = build_optim_wrapper(convnet, {"optimizer": MUON})
    assert type(wrapper.optimizer) is torch.optim.AdamW
    assert "Muon gets no parameter of this model, AdamW gets all of them" in caplog.text


@pytest.mark.parametrize(
    ("wrapper_options", "optimizer_options", "fused", "foreach"),
    [
        ({}, {}, True, None),
        ({"implementation": "torch"}, {}, None, None),
        ({"implementation": "plain"}, {}, None, False),
        ({"implementation": "foreach"}, {}, None, True),
        ({"implementation": "fused"}, {}, True, None),
        ({}, {"fused": False}, False, None),
        ({}, {"foreach": True}, None, True),
    ],
)
def test_implementations(
    convnet: nn.Module, wrapper_options: Any, optimizer_options: Any, fused: Any, foreach: Any
) -> None:
    cfg = {"optimizer": {"type": "AdamW", "lr": 0.1} | optimizer_options} | wrapper_options
    group = build_optim_wrapper(convnet, cfg).optimizer.param_groups[0]
    assert (group["fused"], group["foreach"]) == (fused, foreach)


def test_deterministic_runs_are_not_fused(convnet: nn.Module) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        wrapper = build_optim_wrapper(convnet, {"optimizer": {"type": "AdamW", "lr": 0.1}})
    finally:
        torch.use_deterministic_algorithms(False)
    assert not wrapper.optimizer.param_groups[0]["fused"]


def test_classes_and_factories_may_stand_where_names_do(convnet: nn.Module) -> None:
    def mine(params: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(params, lr=lr)

    assert type(build_optim_wrapper(convnet, {"optimizer": {"type": mine, "lr": 0.1}}).optimizer) is torch.optim.RMSprop
    cfg = {"optimizer": {"type": torch.optim.NAdam, "lr": 0.1}}
    assert type(build_optim_wrapper(convnet, cfg).optimizer) is torch.optim.NAdam


@pytest.mark.parametrize(("name", "library"), [("Lion", "lion_pytorch"), ("Prodigy", "prodigyopt")])
def test_a_missing_library_is_named(convnet: nn.Module, name: str, library: str) -> None:
    cfg = {"optimizer": {"type": name, "lr": 0.1}}
    if importlib.util.find_spec(library):
        assert type(build_optim_wrapper(convnet, cfg).optimizer).__name__ == name
        return
    with pytest.raises(ImportError, match=f"pip install {library.replace('_', '-')}"):
        build_optim_wrapper(convnet, cfg)


def test_zero_redundancy_wants_an_optimizer_of_torch(convnet: nn.Module) -> None:
    for options in ({}, {"optimizer_type": "AdamV"}):
        with pytest.raises(ValueError, match="ZeroRedundancyOptimizer needs the name"):
            build_optim_wrapper(convnet, {"optimizer": {"type": "ZeroRedundancyOptimizer", "lr": 0.1, **options}})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_zero_redundancy_keeps_the_rate_of_a_single_group(convnet: nn.Module, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        optimizer = {"type": "ZeroRedundancyOptimizer", "optimizer_type": "SGD", "lr": 0.1}
        halved = {"custom_keys": {"": {"lr_mult": 0.5}}}
        wrapper = build_optim_wrapper(convnet, {"optimizer": optimizer, "paramwise_cfg": halved})
        assert wrapper.get_lr()["lr"] == [0.05]
    finally:
        torch.distributed.destroy_process_group()


def test_entry_points_have_the_names_of_configs() -> None:
    names = {point.name for point in entry_points(group="seg_engine.optimizers")}
    assert {*ORDINARY, "LBFGS", "Muon", "SparseAdam", "TorchAdafactor", "Lion", "ZeroRedundancyOptimizer"} <= names
    wrappers = {point.name for point in entry_points(group="seg_engine.optim_wrappers")}
    assert {"OptimWrapper", "AmpOptimWrapper", "OptimWrapperDict", "ApexOptimWrapper"} <= wrappers
    schedulers = {point.name: point for point in entry_points(group="seg_engine.param_schedulers")}
    families = ["Constant", "CosineAnnealing", "CosineRestart", "Exponential", "Linear", "MultiStep", "Poly", "Step"]
    families += ["ReduceOnPlateau"]
    expected = {family + end for family in families for end in ("LR", "Momentum", "ParamScheduler")}
    assert expected | {"OneCycleLR", "OneCycleParamScheduler", "PolyLRRatio"} <= set(schedulers)
    assert all(callable(point.load()) for point in schedulers.values())
