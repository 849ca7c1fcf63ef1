"""Reports on schedules that act on one option together."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from seg_optim import (
    CosineRestartLR,
    LinearLR,
    LinearMomentum,
    MultiStepLR,
    OneCycleLR,
    OptimWrapper,
    ParamScheduler,
    PolyLR,
    PolyMomentum,
)

Parameter = torch.nn.Parameter


def sgd(*rates: float) -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [Parameter(torch.ones(1))], "lr": r} for r in rates], lr=rates[0], momentum=0.9)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING, logger="seg_optim")
    return lambda: [record.message for record in caplog.records]


def test_the_case_of_the_reference_that_blows_up_is_reported_with_its_numbers(said: Any) -> None:
    optimizer = sgd(0.01)
    chain = [PolyLR(optimizer, power=0.9, eta_min=1e-4, end=100, by_epoch=False)]
    chain.append(LinearLR(optimizer, start_factor=1e-6, end=10, by_epoch=False))
    highest = 0.0
    for _ in range(100):
        highest = max(highest, optimizer.param_groups[0]["lr"])
        for scheduler in chain:
            scheduler.step()
    assert highest == pytest.approx(0.852, rel=1e-2)
    (line,) = said()
    assert "PolyLR and LinearLR overlap in steps 0 to 10: lr rises to 0.85" in line
    assert "85" in line
    assert "begin=10" in line


def test_overlaps_that_stay_below_the_base_are_not_reported(said: Any) -> None:
    for first, second in (
        ({"end": 10, "start_factor": 1e-6}, {"end": 100}),
        ({"end": 10, "start_factor": 1e-6}, {"end": 100, "eta_min": 1e-4}),
        ({"end": 10, "start_factor": 1e-6}, {"begin": 10, "end": 100, "eta_min": 1e-4}),
    ):
        optimizer = sgd(0.01)
        keep = [LinearLR(optimizer, by_epoch=False, **first), PolyLR(optimizer, by_epoch=False, **second)]
        assert len(keep) == 2
    assert said() == []


def test_several_groups_and_schedules_of_ones_own(said: Any) -> None:
    class Own(ParamScheduler):
        def _get_value(self) -> list[float]:
            return [base * factor for base, factor in zip(self.base_values, [1, 2, 3], strict=True)]

    optimizer = sgd(0.1, 0.2, 0.3)
    keep = [
        LinearLR(optimizer, start_factor=0.1, end=10, by_epoch=False),
        MultiStepLR(optimizer, milestones=[3], by_epoch=False),
        OneCycleLR(optimizer, eta_max=[1.0, 1.0, 1.0], total_steps=10, by_epoch=False),
        Own(optimizer, "lr", by_epoch=False),
    ]
    assert len(keep) == 4
    assert said() == []


def test_restarts_under_a_warm_up_are_reported(said: Any) -> None:
    optimizer = sgd(1.0)
    keep = [
        CosineRestartLR(optimizer, periods=[5, 5], restart_weights=[1, 1], eta_min=0.0, end=10, by_epoch=False),
        LinearLR(optimizer, start_factor=0.1, end=8, by_epoch=False),
    ]
    assert len(keep) == 2
    assert "CosineRestartLR and LinearLR overlap" in said()[0]


def test_schedules_of_other_options_do_not_meet(said: Any) -> None:
    optimizer = sgd(0.1)
    keep = [
        PolyMomentum(optimizer, eta_min=0.5, end=100, by_epoch=False),
        LinearLR(optimizer, start_factor=1e-3, end=10, by_epoch=False),
        LinearMomentum(torch.optim.AdamW([Parameter(torch.ones(1))]), start_factor=0.5, end=10, by_epoch=False),
        OneCycleLR(sgd(0.1), eta_max=1.0, total_steps=10, by_epoch=False),
    ]
    assert len(keep) == 4
    assert said() == []


def test_overlapping_momentum_is_looked_at_too(said: Any) -> None:
    optimizer = torch.optim.AdamW([Parameter(torch.ones(1))])
    keep = [
        PolyMomentum(optimizer, eta_min=0.5, end=100, by_epoch=False),
        LinearMomentum(optimizer, start_factor=1e-3, end=10, by_epoch=False),
    ]
    assert len(keep) == 2
    assert "momentum rises to" in said()[0]


def test_an_absolute_floor_under_unequal_rates_is_reported_once(said: Any) -> None:
    wrapper = OptimWrapper(sgd(1e-3, 1e-5))
    PolyLR(wrapper, eta_min=1e-4, end=100, by_epoch=False)
    PolyLR(wrapper, eta_min=1e-4, end=100, by_epoch=False)
    (line,) = said()
    assert "eta_min=0.0001 is the same for groups whose base values run from 1e-05 to 0.001" in line
    assert "those below 0.0001 will rise to it" in line
    assert "Use eta_min_ratio=0.1" in line


def test_equal_rates_and_ratios_are_not_reported(said: Any) -> None:
    PolyLR(sgd(0.01, 0.01), eta_min=1e-4, end=100, by_epoch=False)
    PolyLR(sgd(0.01, 0.02), eta_min_ratio=0.01, end=100, by_epoch=False)
    PolyLR(sgd(0.01, 0.02), end=100, by_epoch=False)
    assert said() == []
