from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_hooks import (
    BaseAveragedModel,
    ExponentialMovingAverage,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)
from torch import Tensor, nn

REFERENCE = [
    (ExponentialMovingAverage, {"momentum": 0.1}, [1, 1.1, 1.29, 1.561, 1.9049, 2.31441]),
    (ExponentialMovingAverage, {"momentum": 0.1, "interval": 2}, [1, 1, 1.2, 1.2, 1.58, 1.58]),
    (MomentumAnnealingEMA, {"momentum": 0.1, "gamma": 4}, [1, 1.8, 2.6, 3.4, 4.2, 5.0]),
    (MomentumAnnealingEMA, {"momentum": 0.1, "gamma": 4, "interval": 2}, [1, 1, 2.3333, 2.3333, 3.6667, 3.6667]),
    (StochasticWeightAverage, {}, [1, 1.5, 2, 2.5, 3, 3.5]),
    (StochasticWeightAverage, {"interval": 2}, [1, 1, 2, 2, 3, 3]),
]


@pytest.mark.parametrize(("kind", "options", "expected"), REFERENCE)
def test_the_sequences_of_the_reference(kind: Any, options: dict[str, Any], expected: list[float]) -> None:
    net = nn.Linear(1, 1, bias=False)
    average = kind(net, **options)
    got = []
    for value in range(1, 7):
        net.weight.data.fill_(value)
        average.update_parameters(net)
        got.append(average.module.weight.item())
    assert got == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-4, 0.5), st.integers(1, 3), st.integers(0, 10_000))
def test_the_average_is_torchs_lerp_to_the_last_bit(momentum: float, interval: int, seed: int) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    average = ExponentialMovingAverage(net, momentum=momentum, interval=interval)
    expected = [p.detach().clone() for p in net.parameters()]
    for step in range(6):
        for parameter in net.parameters():
            parameter.data.normal_()
        average.update_parameters(net)
        for index, parameter in enumerate(net.parameters()):
            if step == 0:
                expected[index] = parameter.detach().clone()
            elif step % interval == 0:
                expected[index] = torch.lerp(expected[index], parameter.detach(), momentum)
    assert all(torch.equal(a, b) for a, b in zip(average.module.parameters(), expected, strict=True))


class Buffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)

    def move(self, value: float) -> None:
        for tensor in (self.weight.data, self.kept, self.count, self.hidden):
            tensor.fill_(value)


@pytest.mark.parametrize("update_buffers", [False, True])
def test_buffers_whole_numbers_and_hidden_ones(update_buffers: bool) -> None:
    model = Buffers()
    average = ExponentialMovingAverage(model, momentum=0.5, update_buffers=update_buffers)
    for value in (2.0, 4.0):
        model.move(value)
        average.update_parameters(model)
    floats = 3.0 if update_buffers else 4.0
    assert average.module.weight.tolist() == [3.0, 3.0]
    assert average.module.kept.tolist() == [floats, floats]
    assert average.module.hidden.tolist() == [floats, floats]
    assert average.module.count.item() == 4


@pytest.mark.parametrize("kind", [ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage])
def test_buffers_are_copied_unless_asked_otherwise(kind: Any) -> None:
    model = Buffers()
    average = kind(model)
    for value in (2.0, 4.0):
        model.move(value)
        average.update_parameters(model)
    assert average.module.kept.tolist() == average.module.hidden.tolist() == [4.0, 4.0]
    assert average.module.weight[0] != 4.0


def test_annealing_goes_from_the_newest_weights_to_the_momentum() -> None:
    """Share of the new weights: 100 / (100 + n) at the n-th update after the first, and 0.0002 at the least."""
    net = nn.Linear(1, 1, bias=False)
    average = MomentumAnnealingEMA(net)
    for value in (0.0, 101.0):
        net.weight.data.fill_(value)
        average.update_parameters(net)
    assert average.module.weight.item() == pytest.approx(100)
    average.count = 10_000_000
    net.weight.data.fill_(1100.0)
    average.update_parameters(net)
    assert average.module.weight.item() == pytest.approx(100.2, abs=1e-3)


def test_mixed_types_are_averaged_each_in_its_own() -> None:
    net = nn.ParameterList([torch.ones(2), torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.bfloat16)])
    average = StochasticWeightAverage(net)
    for value in (1.0, 3.0):
        for parameter in net:
            parameter.data.fill_(value)
        average.update_parameters(net)
    assert [p.tolist() for p in average.module] == [[2.0, 2.0]] * 3
    assert [p.dtype for p in average.module] == [torch.float32, torch.float64, torch.bfloat16]


def test_the_state_dict_has_the_layout_of_the_reference() -> None:
    net = nn.Linear(1, 1)
    average = ExponentialMovingAverage(net)
    assert int(average.steps) == 0
    average.update_parameters(net)
    average.update_parameters(net)
    state = average.state_dict()
    assert sorted(state) == ["module.bias", "module.weight", "steps"]
    assert int(state["steps"]) == 2
    other = ExponentialMovingAverage(net)
    other.load_state_dict(state)
    assert other.count == 2


def test_swap_exchanges_and_swapping_twice_changes_nothing(net: nn.Module) -> None:
    average = ExponentialMovingAverage(net)
    average.update_parameters(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    raw, mean = copy.deepcopy(net.state_dict()), copy.deepcopy(average.module.state_dict())
    addresses = [p.data_ptr() for p in net.parameters()]
    average.swap(net)
    assert all(torch.equal(net.state_dict()[name], mean[name]) for name, _ in net.named_parameters())
    assert all(torch.equal(average.module.state_dict()[name], raw[name]) for name, _ in net.named_parameters())
    assert [p.data_ptr() for p in net.parameters()] == addresses
    average.swap(net)
    assert all(torch.equal(net.state_dict()[name], raw[name]) for name in raw)


def test_a_copy_of_the_average_stands_alone(net: nn.Module) -> None:
    average = ExponentialMovingAverage(net, momentum=0.5)
    average.update_parameters(net)
    twin = copy.deepcopy(average)
    other = copy.deepcopy(net)
    twin.update_parameters(other)
    assert twin.count == 2
    assert average.count == 1


def test_the_average_goes_on_with_whichever_model_it_is_given() -> None:
    first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(first, momentum=0.5)
    for model, value in ((first, 8.0), (second, 0.0), (second, 2.0), (first, 7.0)):
        model.weight.data.fill_(value)
        average.update_parameters(model)
    assert average.module.weight.item() == ((8 + 0) / 2 + 2) / 4 + 7 / 2


def test_tensors_of_other_classes_are_averaged_outside_of_inference_mode() -> None:
    """They may not bear it; all others are averaged faster in it."""
    modes = []

    class Kind(nn.Parameter):
        pass

    class Rule(BaseAveragedModel):
        def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
            modes.append(torch.is_inference_mode_enabled())

    plain, other = nn.Linear(1, 1), nn.Linear(1, 1)
    other.weight = Kind(torch.ones(1, 1))
    for net in (plain, other):
        average = Rule(net)
        average.update_parameters(net)
        average.update_parameters(net)
    assert modes == [True, False]


def test_an_update_sets_nothing_by_name_and_makes_no_context(monkeypatch: pytest.MonkeyPatch, net: nn.Module) -> None:
    """Both cost as much as averaging some ten tensors."""
    done: list[str] = []

    class Counted(ExponentialMovingAverage):
        def __setattr__(self, name: str, value: object) -> None:
            done.append(name)
            super().__setattr__(name, value)

    average = Counted(net)
    average.update_parameters(net)
    for kind in (torch.inference_mode, torch.no_grad):
        monkeypatch.setattr(kind, "__init__", lambda *args, **options: done.append("context"))
    done.clear()
    for _ in range(5):
        average.update_parameters(net)
    assert (done, average.count) == ([], 6)


def test_an_error_of_a_rule_of_ones_own_is_its_own() -> None:
    class Broken(BaseAveragedModel):
        def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
            raise RuntimeError("out of ideas")

    net = nn.Linear(1, 1)
    average = Broken(net)
    average.update_parameters(net)
    with pytest.raises(RuntimeError, match="out of ideas"):
        average.update_parameters(net)


def test_the_average_may_live_in_another_place() -> None:
    net = nn.Linear(1, 1)
    average = ExponentialMovingAverage(net, momentum=0.5, device="cpu")
    average.update_parameters(net)
    assert average.module.weight.device.type == "cpu"
    assert torch.equal(average(torch.ones(1, 1)), net(torch.ones(1, 1)))
    elsewhere = ExponentialMovingAverage(net, momentum=0.5, device="meta")
    for _ in range(2):
        elsewhere.update_parameters(net)
    assert elsewhere.module.weight.device.type == "meta"
    assert net.weight.device.type == "cpu"
    with pytest.raises(ValueError, match=r"device='nowhere' cannot be used here \(Expected one of .*; give 'cpu'"):
        ExponentialMovingAverage(net, device="nowhere")


def test_a_rule_of_ones_own() -> None:
    class Newest(BaseAveragedModel):
        def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
            torch._foreach_copy_(averaged, sources)

    net = nn.Linear(1, 1)
    average = Newest(net)
    for value in (1.0, 2.0):
        net.weight.data.fill_(value)
        average.update_parameters(net)
    assert average.module.weight.item() == 2.0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"momentum": 0.0}, ValueError, "momentum=0.0 must be greater than 0"),
        ({"momentum": 1.0}, ValueError, "momentum=1.0 must be smaller than 1"),
        ({"momentum": "0.1"}, TypeError, "give a number"),
        ({"interval": 0}, ValueError, "at least 1"),
        ({"update_buffers": 1}, TypeError, "True or False"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ExponentialMovingAverage(nn.Linear(1, 1), **options)


def test_gamma_must_be_positive() -> None:
    with pytest.raises(ValueError, match="gamma=0"):
        MomentumAnnealingEMA(nn.Linear(1, 1), gamma=0)
    assert MomentumAnnealingEMA(nn.Linear(1, 1), gamma=1).gamma == 1


def test_a_large_momentum_warns() -> None:
    with pytest.warns(UserWarning, match="share of the new weights.* mean momentum=0.0002") as told:
        ExponentialMovingAverage(nn.Linear(1, 1), momentum=0.9998)
    assert told[0].filename == __file__
