"""Groups that are added to an optimizer while it trains: scheduled, stepped and resumed like those of the beginning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_optim import (
    ConstantLR,
    ConstantMomentum,
    CosineAnnealingLR,
    CosineAnnealingMomentum,
    CosineRestartLR,
    CosineRestartMomentum,
    ExponentialLR,
    ExponentialMomentum,
    LinearLR,
    LinearMomentum,
    MultiStepLR,
    MultiStepMomentum,
    OneCycleLR,
    OptimWrapper,
    PolyLR,
    PolyLRRatio,
    PolyMomentum,
    ReduceOnPlateauLR,
    ReduceOnPlateauMomentum,
    StepLR,
    StepMomentum,
    build_optim_wrapper,
)
from torch import nn
from torch.optim import lr_scheduler

RATES: list[tuple[Any, dict[str, Any]]] = [
    (ConstantLR, {"factor": 0.5, "end": 8}),
    (CosineAnnealingLR, {"T_max": 20}),
    (CosineAnnealingLR, {"T_max": 20, "eta_min_ratio": 0.0}),
    (CosineRestartLR, {"periods": [20], "eta_min": 0}),
    (ExponentialLR, {"gamma": 0.9}),
    (LinearLR, {"start_factor": 0.1, "end": 9}),
    (MultiStepLR, {"milestones": [2, 6, 8]}),
    (PolyLR, {"power": 0.9, "end": 20}),
    (PolyLRRatio, {"eta_min_ratio": 0.0, "power": 2, "end": 20}),
    (StepLR, {"step_size": 3}),
]
MOMENTA: list[tuple[Any, dict[str, Any]]] = [
    (ConstantMomentum, {"factor": 0.5, "end": 8}),
    (CosineAnnealingMomentum, {"T_max": 20}),
    (CosineRestartMomentum, {"periods": [20], "eta_min": 0}),
    (ExponentialMomentum, {"gamma": 0.9}),
    (LinearMomentum, {"start_factor": 0.1, "end": 9}),
    (MultiStepMomentum, {"milestones": [2, 6, 8]}),
    (PolyMomentum, {"power": 0.9, "end": 20}),
    (StepMomentum, {"step_size": 3}),
]
KINDS = [*((kind, options, "lr") for kind, options in RATES), *((kind, given, "momentum") for kind, given in MOMENTA)]


def tensor() -> nn.Parameter:
    return nn.Parameter(torch.ones(1))


def sgd(groups: int = 1) -> torch.optim.Optimizer:
    listed = [{"params": [tensor()], "lr": 0.1 * (i + 1)} for i in range(groups)]
    return torch.optim.SGD(listed, lr=0.1, momentum=0.8)


def adam(groups: int = 1) -> torch.optim.Optimizer:
    listed = [{"params": [tensor()], "lr": 0.1 * (i + 1)} for i in range(groups)]
    return torch.optim.AdamW(listed, lr=0.1, betas=(0.8, 0.99))


MAKERS: list[Callable[[], Any]] = [
    sgd,
    adam,
    lambda: OptimWrapper(sgd(1)),
    lambda: OptimWrapper(sgd(2)),  # which has a base group behind the others
    lambda: OptimWrapper(adam(2)),
]


def torch_of(given: Any) -> torch.optim.Optimizer:
    found: torch.optim.Optimizer = getattr(given, "optimizer", given)
    return found


def add(given: Any) -> None:
    kind = {"betas": (0.4, 0.9)} if "betas" in torch_of(given).defaults else {"momentum": 0.4}
    torch_of(given).add_param_group({"params": [tensor()], "lr": 0.05, **kind})


def value(group: dict[str, Any], name: str) -> float:
    return float(group["betas"][0] if name == "momentum" and "momentum" not in group else group[name])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize(("kind", "options", "name"), KINDS, ids=[k.__name__ for k, _, _ in KINDS])
def test_an_added_group_begins_at_its_own_value_and_goes_the_way_of_the_others(
    kind: Any, options: dict[str, Any], name: str, by_epoch: bool, make: Callable[[], Any]
) -> None:
    optimizer = make()
    scheduler = kind(optimizer, by_epoch=by_epoch, **options)
    for _ in range(4):
        scheduler.step()
    first, at = torch_of(optimizer).param_groups[0], value(torch_of(optimizer).param_groups[0], name)
    base_groups = [dict(group) for group in getattr(optimizer, "base_groups", [])]
    add(optimizer)
    late = torch_of(optimizer).param_groups[-1]
    begins = value(late, name)
    for _ in range(8):
        scheduler.step()
        assert value(late, name) / begins == pytest.approx(value(first, name) / at)
        if name == "momentum" and "betas" in late:
            assert late["betas"][0] == late["momentum"]
    assert scheduler.get_last_value()[len(torch_of(optimizer).param_groups) - 1] == value(late, name)
    for before, group in zip(base_groups, getattr(optimizer, "base_groups", []), strict=True):
        assert value(group, name) / value(before, name) == pytest.approx(value(first, name) / at)


TWINS: list[tuple[Any, dict[str, Any], Any]] = [
    (ConstantLR, {"factor": 0.5, "end": 7}, lambda o: lr_scheduler.ConstantLR(o, 0.5, 6)),
    (ExponentialLR, {"gamma": 0.9}, lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    (LinearLR, {"start_factor": 0.1, "end": 9}, lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=8)),
    (MultiStepLR, {"milestones": [2, 6, 8]}, lambda o: lr_scheduler.MultiStepLR(o, [2, 6, 8])),
    (PolyLR, {"power": 0.9, "end": 21}, lambda o: lr_scheduler.PolynomialLR(o, 20, 0.9)),
    (StepLR, {"step_size": 3}, lambda o: lr_scheduler.StepLR(o, 3)),
]


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
@pytest.mark.parametrize(("kind", "options", "twin"), TWINS, ids=[kind.__name__ for kind, _, _ in TWINS])
def test_the_values_are_those_of_torch(kind: Any, options: dict[str, Any], twin: Any) -> None:
    ours, theirs = sgd(), sgd()
    pair = kind(ours, by_epoch=False, **options), twin(theirs)
    for step in range(12):
        if step == 4:
            add(ours)
            add(theirs)
        for scheduler in pair:
            scheduler.step()
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])


@pytest.mark.parametrize("make", MAKERS[1:4])
@pytest.mark.parametrize(("kind", "options", "name"), KINDS, ids=[k.__name__ for k, _, _ in KINDS])
@pytest.mark.parametrize("when", ["before the schedulers", "before the state", "with a changed end"])
def test_a_resumed_run_with_the_group_goes_on_exactly(
    kind: Any, options: dict[str, Any], name: str, when: str, make: Callable[[], Any]
) -> None:
    whole = make()
    scheduler = kind(whole, by_epoch=False, **options)
    for step in range(6):
        if step == 4:
            add(whole)
        scheduler.step()
    states = whole.state_dict(), scheduler.state_dict()

    resumed = make()
    if when == "before the schedulers":
        add(resumed)
    changed = {"verbose": True} if when != "with a changed end" else {"end": 1000}
    going_on = kind(resumed, by_epoch=False, **{**options, **changed})
    if when != "before the schedulers":
        add(resumed)
    resumed.load_state_dict(states[0])
    going_on.load_state_dict(states[1])
    late = [value(torch_of(one).param_groups[-1], name) for one in (whole, resumed)]
    assert late[0] == late[1]
    for _ in range(6):
        scheduler.step()
        going_on.step()
        if when != "with a changed end":
            assert going_on.values == scheduler.values
    first, last = (value(torch_of(resumed).param_groups[i], name) for i in (0, -1))
    assert 0 < first < 1
    assert 0 < last < 1


def test_restarts_and_floors_of_an_added_group_are_its_own() -> None:
    optimizer = sgd()
    scheduler = CosineRestartLR(optimizer, periods=[4, 4], restart_weights=[1, 0.5], eta_min_ratio=0.1, by_epoch=False)
    scheduler.step()
    add(optimizer)
    for _ in range(3):
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.025])
    poly = sgd()
    falls = PolyLR(poly, eta_min_ratio=0.5, end=9, by_epoch=False)
    falls.step()
    add(poly)
    for _ in range(9):
        falls.step()
    assert [group["lr"] for group in poly.param_groups] == pytest.approx([0.05, 0.025])


def test_one_cycle_sets_an_added_group_outright() -> None:
    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, eta_max=1.0, total_steps=9, by_epoch=False)
    scheduler.step()
    add(optimizer)
    for _ in range(5):
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"]
    listed = OneCycleLR(other := sgd(), eta_max=[1.0], total_steps=9, by_epoch=False)
    add(other)
    with pytest.raises(ValueError, match=r"eta_max has 1 values for 2 parameter groups.*give one number for all"):
        listed.step()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("kind", "name"), [(ReduceOnPlateauLR, "lr"), (ReduceOnPlateauMomentum, "momentum")])
def test_a_plateau_lowers_an_added_group_too(kind: Any, name: str, make: Callable[[], Any]) -> None:
    optimizer = make()
    scheduler = kind(optimizer, monitor="loss", patience=0, factor=0.5)
    scheduler.step({"loss": 1.0})
    add(optimizer)
    late = torch_of(optimizer).param_groups[-1]
    begins = value(late, name)
    scheduler.step({"loss": 2.0})
    assert value(late, name) == pytest.approx(begins / 2)
    again = make()
    resumed = kind(again, monitor="loss", patience=0, factor=0.5)
    add(again)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for one in (scheduler, resumed):
        one.step({"loss": 3.0})
    assert resumed.values == scheduler.values
    listed = kind(other := sgd(), monitor="loss", min_value=[0.0])
    add(other)
    with pytest.raises(ValueError, match="min_value has 1 values for 2 parameter groups; where groups are added"):
        listed.step({"loss": 1.0})


def test_warm_up_and_decay_agree_on_the_initial_value() -> None:
    optimizer = OptimWrapper(sgd(2))
    warm = LinearLR(optimizer, start_factor=0.1, end=5, by_epoch=False)
    decay = PolyLR(optimizer, begin=5, end=20, eta_min_ratio=0.1, by_epoch=False)
    for step in range(20):
        if step == 6:
            add(optimizer)
        warm.step()
        decay.step()
    assert decay.base_values == pytest.approx([0.1, 0.2, 0.05, 0.1])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.02, 0.005, 0.01])


def test_a_group_that_was_taken_away_and_a_short_answer_are_said() -> None:
    optimizer = sgd(2)
    scheduler = PolyLR(optimizer, end=9, by_epoch=False)
    del optimizer.param_groups[1]
    with pytest.raises(ValueError, match="has 1 parameter groups, 2 when the scheduler was made"):
        scheduler.step()

    class Short(PolyLR):
        def _get_value(self) -> list[float]:
            return [0.1]

    with pytest.raises(ValueError, match=r"Short\._get_value\(\) gave 1 values for 2 parameter groups"):
        Short(sgd(2), end=9, by_epoch=False)


def test_seeking_leaves_an_added_group_alone() -> None:
    optimizer = adam()
    rate, beta = PolyLR(optimizer, end=9, by_epoch=False), LinearMomentum(optimizer, start_factor=0.5, end=9)
    add(optimizer)
    for scheduler in (rate, beta):
        scheduler.seek(4)
    assert optimizer.param_groups[1]["lr"] == 0.05
    assert optimizer.param_groups[1]["betas"] == (0.4, 0.9)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


MUON = {"type": "Muon", "lr": 0.02, "weight_decay": 0.1, "rest": {"type": "AdamW", "lr": 0.001, "weight_decay": 0.05}}
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")


def split(net: nn.Module) -> tuple[OptimWrapper, Any]:
    wrapper = build_optim_wrapper(net, {"optimizer": MUON})
    return wrapper, wrapper.optimizer


@needs_muon
@pytest.mark.parametrize(
    ("kind", "muon"),
    [
        (lambda: nn.Linear(4, 4, bias=False), True),
        (lambda: nn.LayerNorm(4), False),
        (lambda: nn.Embedding(3, 4), False),
    ],
)
def test_the_right_part_of_two_steps_an_added_group(vit: Any, kind: Any, muon: bool) -> None:
    wrapper, optimizer = split(vit)
    schedule = PolyLR(wrapper, end=100, by_epoch=False)
    wrapper.update_params(vit(torch.ones(2, 4)).square().mean())
    vit.more = kind()
    optimizer.add_param_group({"params": vit.more.parameters()})
    group = optimizer.param_groups[-1]
    assert group["lr"] == (0.02 if muon else 0.001)
    assert ("ns_steps" in group, "betas" in group) == (muon, not muon)
    before = [parameter.detach().clone() for parameter in vit.more.parameters()]
    for _ in range(2):
        wrapper.update_params(torch.stack([(p - 3).square().sum() for p in vit.more.parameters()]).sum())
        schedule.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, vit.more.parameters(), strict=True))
    assert group["lr"] < (0.02 if muon else 0.001)
    assert set(optimizer.state[next(vit.more.parameters())]) == ({"momentum_buffer"} if muon else ADAMS)


ADAMS = {"step", "exp_avg", "exp_avg_sq"}


@needs_muon
def test_which_part_may_be_said(vit: Any) -> None:
    _, optimizer = split(vit)
    matrix, flat = nn.Parameter(torch.eye(4)), nn.Parameter(torch.ones(4))
    with pytest.raises(ValueError, match=r"a matrix that is not in the model.*part='main' \(Muon.*part='rest' \(AdamW"):
        optimizer.add_param_group({"params": [matrix]})
    with pytest.raises(ValueError, match="choose 'main' or 'rest'"):
        optimizer.add_param_group({"params": [matrix], "part": "muon"})
    with pytest.raises(ValueError, match="Muon takes 2-D weights only: give part='rest'"):
        optimizer.add_param_group({"params": [flat], "part": "main"})
    vit.more = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="Muon takes hidden matrices only, AdamW the others: add them as two groups"):
        optimizer.add_param_group({"params": list(vit.more.parameters())})
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [vit.head.weight]})
    count = len(optimizer.param_groups)
    optimizer.add_param_group({"params": [matrix], "part": "rest", "lr": 0.5})
    optimizer.add_param_group({"params": [vit.more.weight], "part": "main"})
    optimizer.add_param_group({"params": flat})
    assert [len(part.param_groups) for part in optimizer.parts] == [1, count - 1]
    for parameter in (matrix, flat, vit.more.weight):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert [len(part.param_groups) for part in optimizer.parts] == [2, count + 1]
    assert set(optimizer.state[matrix]) == set(optimizer.state[flat]) == ADAMS


@needs_muon
def test_two_in_one_resume_and_copy_with_an_added_group(vit: Any) -> None:
    nets = [vit, copy.deepcopy(vit)]
    pairs = [split(net) for net in nets]
    for net, (_, optimizer) in zip(nets, pairs, strict=True):
        net.more = nn.Linear(4, 4, bias=False)
        nn.init.eye_(net.more.weight)
        optimizer.add_param_group({"params": [net.more.weight]})

    def step(net: Any, wrapper: OptimWrapper) -> None:
        wrapper.update_params(net(torch.ones(2, 4)).square().mean() + net.more(torch.ones(4)).square().mean())

    for _ in range(2):
        step(vit, pairs[0][0])
    nets[1].load_state_dict(vit.state_dict())
    pairs[1][0].load_state_dict(copy.deepcopy(pairs[0][0].state_dict()))
    twin, wrapper = copy.deepcopy((vit, pairs[0][0]))
    for net, one in ((vit, pairs[0][0]), (nets[1], pairs[1][0]), (twin, wrapper)):
        step(net, one)
    for other in (nets[1], twin):
        assert all(torch.equal(a, b) for a, b in zip(vit.parameters(), other.parameters(), strict=True))


@needs_muon
def test_two_in_one_are_unchanged_by_a_state_that_is_refused(vit: Any) -> None:
    wrapper, optimizer = split(vit)
    other = copy.deepcopy(wrapper.state_dict())
    for group in other["param_groups"]:
        group.pop("momentum", None)
        group["lr"] = 9.0
    with pytest.raises(ValueError, match="written by another optimizer"):
        wrapper.load_state_dict(other)
    before = vit.head.weight.detach().clone()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    wrapper.update_params(vit(torch.ones(2, 4)).square().mean())
    assert torch.equal(vit.head.weight, before)


@pytest.mark.parametrize(("kind", "options"), MOMENTA, ids=[kind.__name__ for kind, _ in MOMENTA])
def test_a_schedule_of_the_momentum_goes_on_from_a_state_that_had_none(kind: Any, options: dict[str, Any]) -> None:
    state = adam().state_dict()
    optimizer, twin = OptimWrapper(adam()), OptimWrapper(adam())
    schedules = [kind(one, by_epoch=False, **options) for one in (optimizer, twin)]
    start = optimizer.optimizer.param_groups[0]["betas"]
    optimizer.load_state_dict(state)
    optimizer.optimizer.param_groups[0]["betas"] = start
    for schedule in schedules:
        schedule.state_dict()
        schedule.step()
    assert optimizer.optimizer.param_groups[0]["betas"] == twin.optimizer.param_groups[0]["betas"]


def test_a_frozen_part_that_joins_before_the_first_state_is_saved_and_loaded(vit: Any) -> None:
    cfg = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "paramwise_cfg": {"bias_lr_mult": 2.0}}
    vit.head.requires_grad_(False)
    wrappers = []
    for net in (vit, copy.deepcopy(vit)):
        wrapper = build_optim_wrapper(net, cfg)
        net.head.requires_grad_(True)
        wrapper.optimizer.add_param_group({"params": list(net.head.parameters())})
        wrappers.append(wrapper)
    wrappers[0].update_params(vit(torch.ones(2, 4)).sum())
    state = wrappers[0].state_dict()
    assert sum(len(group["params"]) for group in state["param_groups"]) == len(list(vit.parameters()))
    wrappers[1].load_state_dict(state)
    moments = [wrapper.optimizer.state_dict()["state"] for wrapper in wrappers]
    assert all(torch.equal(moments[0][k]["momentum_buffer"], moments[1][k]["momentum_buffer"]) for k in moments[0])
