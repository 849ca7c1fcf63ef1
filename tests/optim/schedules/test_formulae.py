"""The formulae alone, and the reference values of section 6 through the schedulers."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
import seg_optim
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_optim.schedules import formulae as schedules


def optimizer(lr: float = 1.0, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, **options)


def trace(base: float, steps: int, *configs: dict[str, Any]) -> list[float]:
    """The learning rate used in each iteration."""
    target = optimizer(base)
    chain = [getattr(seg_optim, cfg["type"])(target, by_epoch=False, **_arguments(cfg)) for cfg in configs]
    values = []
    for _ in range(steps):
        values.append(target.param_groups[0]["lr"])
        for scheduler in chain:
            scheduler.step()
    return values


def _arguments(cfg: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cfg.items() if key != "type"}


def poly(**options: Any) -> dict[str, Any]:
    return {"type": "PolyLR", **options}


def linear(**options: Any) -> dict[str, Any]:
    return {"type": "LinearLR", **options}


REFERENCE: list[tuple[str, float, list[dict[str, Any]], dict[int, float]]] = [
    (
        "poly",
        0.01,
        [poly(eta_min=1e-4, power=0.9, end=100)],
        {0: 0.01, 1: 0.009909954376, 10: 0.009095276667, 50: 0.005357024385, 99: 1e-4, 100: 1e-4},
    ),
    (
        "poly from 1",
        1.0,
        [poly(eta_min=1e-4, power=0.9, end=100)],
        {0: 1, 1: 0.990905392, 10: 0.9086229434, 50: 0.5310594628, 99: 1e-4, 100: 1e-4},
    ),
    (
        "poly power 1",
        1.0,
        [poly(end=100)],
        {0: 1, 1: 0.9898989899, 10: 0.898989899, 50: 0.4949494949, 99: 0, 100: 0},
    ),
    (
        "poly window",
        1.0,
        [poly(begin=10, end=20)],
        {9: 1, 10: 1, 11: 0.8888888889, 15: 0.4444444444, 18: 0.1111111111, 19: 0, 20: 0, 25: 0},
    ),
    (
        "160k SGD",
        0.01,
        [poly(eta_min=1e-4, power=0.9, end=160000)],
        {
            0: 0.01,
            1: 0.009999944312,
            100: 0.009994431041,
            40000: 0.007741691788,
            80000: 0.005405248797,
            120000: 0.002942980452,
            159998: 0.000100205083,
            159999: 1e-4,
        },
    ),
    (
        "80k SGD",
        0.01,
        [poly(eta_min=1e-4, power=0.9, end=80000)],
        {
            1: 0.009999888624,
            100: 0.009988861664,
            20000: 0.00774167746,
            40000: 0.005405218954,
            60000: 0.002942932475,
            79998: 0.0001003827006,
            79999: 1e-4,
        },
    ),
    (
        "40k SGD",
        0.01,
        [poly(eta_min=1e-4, power=0.9, end=40000)],
        {
            1: 0.009999777244,
            100: 0.009977721656,
            10000: 0.007741648802,
            20000: 0.005405159268,
            30000: 0.002942836519,
            39998: 0.0001007141525,
            39999: 1e-4,
        },
    ),
    (
        "Swin and SegFormer",
        6e-5,
        [linear(start_factor=1e-6, end=1500), poly(begin=1500, end=160000)],
        {
            0: 6e-11,
            1: 4.008664443e-8,
            2: 8.011328886e-8,
            750: 3.002004332e-5,
            1498: 5.995997336e-5,
            1499: 6e-5,
            1500: 6e-5,
            1501: 5.999962145e-5,
            2000: 5.981072436e-5,
            40000: 4.542577556e-5,
            80000: 3.028372419e-5,
            120000: 1.514167282e-5,
            159998: 3.785512842e-10,
            159999: 0,
        },
    ),
    (
        "warm-up and poly",
        0.01,
        [linear(start_factor=1e-6, end=1500), poly(power=0.9, eta_min=1e-4, begin=1500, end=80000)],
        {
            0: 1e-8,
            1: 6.6811074e-6,
            1499: 0.01,
            1501: 0.0099998865,
            40000: 0.0054963698,
            79998: 0.00010038928,
            79999: 1e-4,
        },
    ),
    (
        "Mask2Former",
        1e-4,
        [poly(power=0.9, end=90000)],
        {1: 9.9999e-5, 45000: 5.3588137e-5, 89998: 3.476851e-9, 89999: 0},
    ),
    (
        "25k with ratio",
        1e-3,
        [
            linear(start_factor=0.03, end=12000),
            {"type": "PolyLRRatio", "eta_min_ratio": 0.03, "power": 0.9, "begin": 12000, "end": 24000},
            {"type": "ConstantLR", "factor": 1, "begin": 24000, "end": 25000},
        ],
        {
            0: 3e-5,
            1: 3.008084e-5,
            6000: 5.1504042e-4,
            11999: 1e-3,
            12001: 9.9992724e-4,
            18000: 5.4977114e-4,
            23999: 3e-5,
            24999: 3e-5,
        },
    ),
    (
        "K-Net",
        1e-4,
        [
            linear(start_factor=0.001, end=1000),
            {"type": "MultiStepLR", "milestones": [60000, 72000], "begin": 1000, "end": 80000},
        ],
        {0: 1e-7, 1: 2e-7, 999: 1e-4, 60999: 1e-4, 61000: 1e-5, 72999: 1e-5, 73000: 1e-6},
    ),
    (
        "cosine",
        1.0,
        [{"type": "CosineAnnealingLR", "eta_min": 0, "end": 100}],
        {1: 0.9997532802, 10: 0.9755282581, 50: 0.5, 99: 0.0002467198, 100: 0.0002467198, 105: 0.0002467198},
    ),
    (
        "cosine bounce",
        1.0,
        [{"type": "CosineAnnealingLR", "T_max": 50, "end": 100}],
        {25: 0.5, 49: 0.0009866358, 50: 0, 51: 0.0009866358, 52: 0.0039426493, 75: 0.5, 99: 0.9990133642},
    ),
    (
        "cosine floor",
        1.0,
        [{"type": "CosineAnnealingLR", "T_max": 50, "eta_min": 0.1, "end": 100}],
        {1: 0.9991120278, 25: 0.55, 50: 0.1, 51: 0.1008879722, 99: 0.9991120278},
    ),
    (
        "cosine ratio",
        1.0,
        [{"type": "CosineAnnealingLR", "eta_min_ratio": 0.1, "begin": 10, "end": 20}],
        {11: 0.9779754323, 15: 0.55, 19: 0.1220245677, 20: 0.1220245677, 25: 0.1220245677},
    ),
]
SERIES: list[tuple[dict[str, Any], list[float]]] = [
    (linear(start_factor=0.1, end=5), [0.1, 0.325, 0.55, 0.775, 1, 1]),
    (linear(start_factor=1.0, end_factor=0.5, begin=2, end=5), [1, 1, 1, 0.75, 0.5, 0.5]),
    ({"type": "ConstantLR", "factor": 0.5, "end": 3}, [0.5, 0.5, 1, 1]),
    ({"type": "StepLR", "step_size": 3, "end": 10}, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001]),
    (
        {"type": "StepLR", "step_size": 3, "begin": 2, "end": 10},
        [1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01],
    ),
    ({"type": "MultiStepLR", "milestones": [2, 4, 4]}, [1, 1, 0.1, 0.1, 0.001]),
    ({"type": "ExponentialLR", "gamma": 0.5, "begin": 1, "end": 4}, [1, 1, 0.5, 0.25, 0.25]),
    (
        {"type": "CosineRestartLR", "periods": [4, 6], "restart_weights": [1, 0.5], "eta_min": 0},
        [1, 0.8535534, 0.5, 0.1464466, 0.5, 0.4665064, 0.375, 0.25, 0.125, 0.03349365, 0.03349365],
    ),
    (
        {"type": "OneCycleLR", "eta_max": 1.0, "total_steps": 10},
        [0.04, 0.52, 1, 0.950484632, 0.8117456539, 0.6112620219, 0.3887419781, 0.1882583461, 0.04951936799, 4e-6],
    ),
    (
        {"type": "OneCycleLR", "eta_max": 1.0, "total_steps": 10, "three_phase": True},
        [0.04, 0.52, 1, 0.52, 0.04, 0.0361807219, 0.0261817219, 0.0138222782, 0.0038232781, 4e-6],
    ),
]


@pytest.mark.parametrize(
    ("base", "configs", "expected"), [case[1:] for case in REFERENCE], ids=[c[0] for c in REFERENCE]
)
def test_the_values_of_the_reference(base: float, configs: list[dict[str, Any]], expected: dict[int, float]) -> None:
    """Every printed digit is right (the reference prints ten at most), and the closed form holds to 1e-12."""
    values = trace(base, max(expected) + 1, *configs)
    for iteration, value in expected.items():
        assert values[iteration] == pytest.approx(value, rel=0, abs=last_digit(value)), iteration
        exact = closed_form(base, configs, iteration)
        assert values[iteration] == pytest.approx(exact, rel=1e-12, abs=1e-22), iteration


def last_digit(value: float) -> float:
    """Half a unit of the last digit that the reference prints; next to nothing for round numbers, which are exact."""
    _, digits, exponent = Decimal(repr(value)).as_tuple()
    return 0.51 * 10.0 ** int(exponent) if len(digits) > 3 else abs(value) * 1e-12 + 1e-22


def closed_form(base: float, configs: list[dict[str, Any]], iteration: int) -> float:
    """The value without the recursion: each schedule acts on what the one before it left."""
    value = base
    for cfg in configs:
        begin, end = cfg.get("begin", 0), cfg.get("end", 10**9)
        if iteration < begin:
            continue
        t, last = min(iteration, end - 1) - begin, end - begin - 1
        floor = cfg.get("eta_min") or base * (cfg.get("eta_min_ratio") or 0)
        if cfg["type"] == "LinearLR":
            value *= cfg["start_factor"] + (1 - cfg["start_factor"]) * t / last
        elif cfg["type"].startswith("PolyLR"):
            value = (value - floor) * ((last - t) / last) ** cfg.get("power", 1.0) + floor
        elif cfg["type"] == "MultiStepLR":
            value *= 0.1 ** sum(milestone <= t for milestone in cfg["milestones"])
        elif cfg["type"] == "CosineAnnealingLR":
            value = floor + (value - floor) * (1 + math.cos(math.pi * t / cfg.get("T_max", last + 1))) / 2
    return value


@pytest.mark.parametrize(("config", "expected"), SERIES, ids=[str(case[0]) for case in SERIES])
def test_the_series_of_the_reference(config: dict[str, Any], expected: list[float]) -> None:
    steps = min(len(expected), config.get("total_steps", 1000))
    assert trace(1.0, steps, config) == pytest.approx(expected, rel=1e-6, abs=1e-16)


@given(st.floats(1e-6, 10), st.floats(0.1, 3), st.integers(2, 400), st.floats(0, 0.5), st.integers(0, 30))
def test_poly_equals_its_closed_form(base: float, power: float, length: int, ratio: float, begin: int) -> None:
    floor = base * ratio
    values = trace(base, begin + length, poly(eta_min=floor, power=power, begin=begin, end=begin + length))
    for t in range(length):
        exact = (base - floor) * (1 - t / (length - 1)) ** power + floor
        assert values[begin + t] == pytest.approx(exact, rel=1e-11, abs=1e-18)


@given(st.floats(1e-6, 10), st.floats(1e-6, 1), st.floats(0, 1), st.integers(2, 300))
def test_linear_equals_its_closed_form(base: float, start: float, end: float, length: int) -> None:
    values = trace(base, length, linear(start_factor=start, end_factor=end, end=length))
    for t in range(length):
        exact = base * (start + (end - start) * t / (length - 1))
        assert values[t] == pytest.approx(exact, rel=1e-9, abs=base * 1e-13)


@pytest.mark.parametrize("length", [100, 40000])
def test_the_recursions_keep_twelve_digits_over_whole_runs(length: int) -> None:
    values = trace(0.01, length, poly(eta_min=1e-4, power=0.9, end=length))
    for t in range(0, length, 97):
        exact = (0.01 - 1e-4) * (1 - t / (length - 1)) ** 0.9 + 1e-4
        assert values[t] == pytest.approx(exact, rel=1e-12)
    values = trace(1.0, length, {"type": "CosineAnnealingLR", "end": length, "eta_min": 0.01})
    for t in range(0, length, 97):
        exact = 0.01 + 0.99 * (1 + math.cos(math.pi * t / length)) / 2
        assert values[t] == pytest.approx(exact, rel=1e-12)


def test_one_cycle_phases_meet() -> None:
    levels = {"initial": 0.04, "max": 1.0, "min": 4e-6}
    phases = schedules.one_cycle_phases(100, 0.3, three_phase=True)
    values = [schedules.one_cycle_value(t, phases, levels, linear=True) for t in range(100)]
    assert max(values) == pytest.approx(1.0)
    assert values[29] == pytest.approx(1.0)
    assert values[99] == pytest.approx(4e-6)
    assert values[:30] == sorted(values[:30])


def test_periods_are_found_by_their_ends() -> None:
    assert [schedules.period_of(t, [4, 10]) for t in (0, 3, 4, 9, 10)] == [0, 0, 1, 1, None]


def test_a_cosine_stands_on_its_floor_once_in_two_periods() -> None:
    assert [step for step in range(1, 40) if schedules.cosine_bounce(step, 5)] == [6, 16, 26, 36]
    assert [step for step in range(1, 9) if schedules.cosine_bounce(step, 1)] == [2, 4, 6, 8]


@pytest.mark.parametrize("three_phase", [True, False])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_is_torchs_to_its_last_step(anneal: str, three_phase: bool) -> None:
    target, total = optimizer(), 20
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        target, 1.0, total_steps=total, anneal_strategy=anneal, three_phase=three_phase, cycle_momentum=False
    )
    levels = {"initial": 1 / 25, "max": 1.0, "min": 1 / 25 / 1e4}
    phases = schedules.one_cycle_phases(total, 0.3, three_phase)
    for step in range(total + 1):
        ours = schedules.one_cycle_value(step, phases, levels, anneal == "linear")
        assert ours == pytest.approx(target.param_groups[0]["lr"], rel=1e-12)
        target.step()
        if step < total:
            theirs.step()


@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_may_begin_at_its_peak(anneal: str) -> None:
    cycle = {"type": "OneCycleLR", "eta_max": 1.0, "anneal_strategy": anneal}
    values = trace(1.0, 10, {**cycle, "total_steps": 10, "pct_start": 0.1})
    assert (values[0], values[9]) == (1.0, pytest.approx(4e-6))
    assert values == sorted(values, reverse=True)
    there_and_back = trace(1.0, 7, {**cycle, "total_steps": 7, "pct_start": 4 / 7, "three_phase": True})
    assert (there_and_back[3], there_and_back[6]) == (1.0, pytest.approx(0.04))
    phases = schedules.one_cycle_phases(7, 4 / 7, three_phase=True)
    levels = {"initial": 0.04, "max": 1.0, "min": 4e-6}
    assert schedules.one_cycle_value(7, phases, levels, anneal == "linear") == pytest.approx(4e-6)
