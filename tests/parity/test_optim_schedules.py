"""Every schedule steps through the same values as MMEngine's, to the last bit."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

pytest.importorskip("mmengine")

import seg_optim

pytestmark = pytest.mark.filterwarnings("ignore")
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Constant", {}),
    ("Constant", {"factor": 0.3, "begin": 2, "end": 9}),
    ("Linear", {"start_factor": 1e-6, "end": 1500}),
    ("Linear", {"start_factor": 0.9, "end_factor": 0.1, "begin": 3, "end": 20}),
    ("Linear", {"begin": 3, "end": 4}),
    ("Poly", {"eta_min": 1e-4, "power": 0.9, "end": 2000}),
    ("Poly", {"power": 1.0, "begin": 10, "end": 200}),
    ("Poly", {"power": 2.5, "eta_min": 0.01, "begin": 10, "end": 12}),
    ("Poly", {"begin": 10, "end": 11}),
    ("CosineAnnealing", {"end": 500}),
    ("CosineAnnealing", {"T_max": 50, "eta_min": 0.1, "end": 400}),
    ("CosineAnnealing", {"T_max": 7, "eta_min_ratio": 0.1, "begin": 3, "end": 400}),
    ("Exponential", {"gamma": 0.97, "begin": 2, "end": 300}),
    ("Step", {"step_size": 3, "begin": 2, "end": 100}),
    ("MultiStep", {"milestones": [2, 4, 4, 90]}),
    ("CosineRestart", {"periods": [4, 60, 300], "restart_weights": [1, 0.5, 0.3], "eta_min": 0.001}),
    ("CosineRestart", {"periods": [4, 60], "restart_weights": [1, 0.5], "eta_min_ratio": 0.1, "begin": 5, "end": 60}),
]


def optimizer(kind: str) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": lr} for lr in (1.0, 0.5, 3e-5)]
    return getattr(torch.optim, kind)(groups, lr=1.0, **({"momentum": 0.9} if kind == "SGD" else {}))


def theirs(name: str) -> Any:
    """A scheduler class of MMEngine; not all are public names of its module."""
    scheduler = importlib.import_module("mmengine.optim.scheduler")
    return getattr(scheduler, name, None) or importlib.import_module("mmengine.registry").PARAM_SCHEDULERS.get(name)


def values(groups: list[dict[str, Any]]) -> list[Any]:
    return [(group["lr"], group.get("momentum"), group.get("betas")) for group in groups]


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("suffix", ["LR", "Momentum"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_values_are_the_references_bit_for_bit(case: int, suffix: str, kind: str) -> None:
    name, arguments = CASES[case]
    mine, other = optimizer(kind), optimizer(kind)
    my_schedule = getattr(seg_optim, name + suffix)(mine, by_epoch=False, **arguments)
    other_schedule = theirs(name + suffix)(other, by_epoch=False, **arguments)
    for _ in range(2100 if suffix == "LR" else 200):
        assert values(mine.param_groups) == values(other.param_groups)
        my_schedule.step()
        other_schedule.step()
    state = my_schedule.state_dict()
    expected = {key: value for key, value in other_schedule.state_dict().items() if key != "verbose"}
    assert {key: state[key] for key in expected} == expected


@pytest.mark.parametrize(
    "arguments",
    [{}, {"three_phase": True, "anneal_strategy": "linear", "pct_start": 0.25}, {"div_factor": 10.0, "begin": 5}],
)
def test_one_cycle_is_the_references(arguments: dict[str, Any]) -> None:
    mine, other = optimizer("SGD"), optimizer("SGD")
    common = {"eta_max": 0.7, "total_steps": 600, "by_epoch": False} | arguments
    my_schedule, other_schedule = seg_optim.OneCycleLR(mine, **common), theirs("OneCycleLR")(other, **common)
    for _ in range(590):
        assert values(mine.param_groups) == values(other.param_groups)
        my_schedule.step()
        other_schedule.step()


def test_chains_and_converted_epochs_are_the_references() -> None:
    mine, other = optimizer("SGD"), optimizer("SGD")
    schedules = []
    for groups, find in ((mine, lambda n: getattr(seg_optim, n)), (other, theirs)):
        schedules.append(
            [
                find("LinearLR").build_iter_from_epoch(groups, start_factor=0.1, end=2.5, epoch_length=7),
                find("MultiStepLR").build_iter_from_epoch(groups, milestones=[1, 3], begin=2, epoch_length=7),
                find("CosineAnnealingLR").build_iter_from_epoch(groups, T_max=4, begin=3, end=9, epoch_length=7),
            ]
        )
    for _ in range(100):
        assert values(mine.param_groups) == values(other.param_groups)
        for schedule in (*schedules[0], *schedules[1]):
            schedule.step()


def test_plateaus_are_the_references() -> None:
    mine, other = optimizer("SGD"), optimizer("SGD")
    arguments = {"monitor": "mIoU", "rule": "greater", "patience": 2, "cooldown": 1, "min_value": 1e-3, "factor": 0.5}
    my_schedule = seg_optim.ReduceOnPlateauLR(mine, **arguments)
    other_schedule = theirs("ReduceOnPlateauLR")(other, **arguments)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        metrics = {"mIoU": float(torch.rand((), generator=generator))}
        for schedule in (my_schedule, other_schedule):
            schedule.step()
            schedule.step(metrics)
        assert values(mine.param_groups) == values(other.param_groups)
    state = my_schedule.state_dict()
    expected = other_schedule.state_dict()
    assert {key: state.get(key) for key in expected} == expected
