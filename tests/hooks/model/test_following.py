"""An average follows whatever a model does to its tensors and modules between two updates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_hooks import BaseAveragedModel, CheckpointHook, EMAHook, ExponentialMovingAverage, StochasticWeightAverage
from seg_hooks.model.averaging import _beside
from seg_hooks.model.following import Watch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

Make = Callable[..., Any]
Train = Callable[..., None]


class Net(nn.Module):
    """A linear layer, and a centre that is set anew at each step, as DINO's is."""

    center: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.head = nn.Linear(3, 1)
        self.register_buffer("center", torch.zeros(1))
        self.register_buffer("late", None)

    def forward(self, batch: Tensor) -> Tensor:
        if self.training:
            self.center = self.center + 1.0
        out: Tensor = self.head(self.body(batch))
        return out


def values(module: nn.Module) -> dict[str, Tensor]:
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[n].dtype == other[n].dtype and torch.equal(one[n], other[n]) for n in one
    )


def change_nothing(net: Net) -> None:
    pass


def set_a_buffer_anew(net: Net) -> None:
    net.center = net.center + 1


def set_a_buffer_with_its_graph(net: Net) -> None:
    net.center = net.center + net.head.weight.sum().reshape(1)


def give_a_buffer_another_shape(net: Net) -> None:
    net.center = torch.full((5,), 2.0)


def give_a_buffer_another_type(net: Net) -> None:
    net.center = torch.tensor([3], dtype=torch.long)


def fill_an_empty_buffer(net: Net) -> None:
    net.late = torch.ones(2)  # type: ignore[assignment]


def empty_a_buffer(net: Net) -> None:
    net.center = None  # type: ignore[assignment]


def add_a_buffer(net: Net) -> None:
    net.body[0].register_buffer("queue", torch.arange(3.0))


def delete_a_buffer(net: Net) -> None:
    del net.center


def replace_a_parameter(net: Net) -> None:
    net.head.weight = nn.Parameter(torch.full((1, 3), 7.0))


def replace_a_parameter_by_a_larger_one(net: Net) -> None:
    net.head.weight = nn.Parameter(torch.full((6, 3), 7.0))
    net.head.bias = nn.Parameter(torch.zeros(6))


def replace_the_head(net: Net) -> None:
    net.head = nn.Linear(3, 9)


def replace_the_body_by_another_kind(net: Net) -> None:
    net.body = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.LayerNorm(3))


def grow(net: Net) -> None:
    net.body.append(nn.PReLU())


def shrink(net: Net) -> None:
    del net.body[1]


def exchange_two_buffers(net: Net) -> None:
    norm: Any = net.body[1]
    norm.running_mean, norm.running_var = norm.running_var, norm.running_mean


def tie(net: Net) -> None:
    net.head.weight = nn.Parameter(torch.zeros(3, 4))
    net.body[0].weight = net.head.weight


def tie_two_buffers(net: Net) -> None:
    norm: Any = net.body[1]
    norm.running_var = norm.running_mean = norm.running_mean + 5


def prune_it(net: Net) -> None:
    prune.l1_unstructured(net.body[0], "weight", amount=0.5)  # type: ignore[no-untyped-call]


def parametrize_it(net: Net) -> None:
    parametrizations.weight_norm(net.body[0])


def swap_the_data(net: Net) -> None:
    net.head.weight.data = torch.full((2, 3), 5.0)
    net.body[0].bias.data = torch.full((3,), 4.0)  # type: ignore[operator]


CHANGES = [
    change_nothing,
    set_a_buffer_anew,
    set_a_buffer_with_its_graph,
    give_a_buffer_another_shape,
    give_a_buffer_another_type,
    fill_an_empty_buffer,
    empty_a_buffer,
    add_a_buffer,
    delete_a_buffer,
    replace_a_parameter,
    replace_a_parameter_by_a_larger_one,
    replace_the_head,
    replace_the_body_by_another_kind,
    grow,
    shrink,
    exchange_two_buffers,
    tie,
    tie_two_buffers,
    prune_it,
    parametrize_it,
    swap_the_data,
]


def randomize(net: nn.Module) -> None:
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.copy_(torch.randn(tensor.shape))


@pytest.mark.parametrize("update_buffers", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_all_that_a_model_does_is_followed(change: Callable[[Net], None], update_buffers: bool) -> None:
    """With momentum next to 1 the average is the model itself, whatever happened to it."""
    net = Net()
    average = ExponentialMovingAverage(net, momentum=0.5, update_buffers=update_buffers)
    average.momentum = 1.0
    for step in range(4):
        randomize(net)
        if step == 2:
            change(net)
        average.update_parameters(net)
        assert equal(values(average.module), values(net)), (change, step)
    assert not any(tensor.requires_grad for tensor in average.module.parameters())
    assert not any(tensor.is_inference() for tensor in average.module.state_dict().values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(CHANGES), max_size=5), st.booleans())
def test_any_row_of_changes_is_followed(changes: list[Callable[[Net], None]], update_buffers: bool) -> None:
    net = Net()
    average = ExponentialMovingAverage(net, momentum=0.5, update_buffers=update_buffers)
    average.momentum = 1.0
    average.update_parameters(net)
    for change in changes:
        try:
            change(net)
        except (AttributeError, IndexError, KeyError, RuntimeError, ValueError, TypeError):
            continue  # this one does not go with those before it
        randomize(net)
        average.update_parameters(net)
        average.update_parameters(net)
        assert equal(values(average.module), values(net)), changes


@pytest.mark.parametrize("update_buffers", [False, True])
def test_values_that_fit_go_on_as_an_average(update_buffers: bool) -> None:
    net = Net()
    net.head.weight.data.fill_(0.0)
    average = ExponentialMovingAverage(net, momentum=0.25, update_buffers=update_buffers)
    average.update_parameters(net)
    net.head.weight = nn.Parameter(torch.full((1, 3), 4.0))  # another object of the same shape
    net.center = net.center + 4.0
    average.update_parameters(net)
    assert average.module.head.weight.tolist() == [[1.0, 1.0, 1.0]]
    assert average.module.center.item() == (1.0 if update_buffers else 4.0)
    net.head = nn.Linear(3, 1)
    net.head.weight.data.fill_(5.0)
    average.update_parameters(net)
    assert average.module.head.weight.tolist() == [[2.0, 2.0, 2.0]]


@pytest.mark.parametrize("kind", [ExponentialMovingAverage, StochasticWeightAverage])
def test_a_model_in_another_precision_is_averaged_in_that_of_the_average(kind: Any) -> None:
    """Some tensors of a group change their type behind their name; each is averaged once, those before them too."""
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    average = kind(net, **({"momentum": 0.5} if kind is ExponentialMovingAverage else {}))
    for tensor in net.parameters():
        tensor.data.fill_(0.0)
    average.update_parameters(net)
    net[1].half()
    for expected in (1.0, 1.5) if kind is ExponentialMovingAverage else (1.0, 4 / 3):
        for tensor in net.parameters():
            tensor.data.fill_(2.0)
        average.update_parameters(net)
        assert [tensor.item() for tensor in average.module.parameters()] == pytest.approx([expected] * 6)
    assert {tensor.dtype for tensor in average.module.parameters()} == {torch.float32}


def test_tied_tensors_may_part(net: nn.Module) -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    average = ExponentialMovingAverage(tied, momentum=0.5)
    average.update_parameters(tied)
    tied[1].weight = nn.Parameter(torch.full((2, 2), 3.0))
    average.momentum = 1.0
    average.update_parameters(tied)
    assert equal(values(average.module), values(tied))


def test_lazy_modules_are_followed_from_their_first_batch_on() -> None:
    net = nn.Sequential(nn.LazyConv2d(2, 1), nn.LazyBatchNorm2d(), nn.ReLU())
    average = ExponentialMovingAverage(net, momentum=0.5)
    net(torch.randn(2, 3, 4, 4))
    average.update_parameters(net)
    assert equal(values(average.module), values(net))
    assert [type(one) for one in average.module] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    average(torch.randn(2, 3, 4, 4))


def test_lists_are_made_anew_only_where_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a model that keeps its tensors costs anything, nor one that sets some of the same kind anew."""
    net = Net()
    average = ExponentialMovingAverage(net, momentum=0.5)
    made = 0
    follow = BaseAveragedModel.follow

    def counted(self: BaseAveragedModel, model: nn.Module) -> None:
        nonlocal made
        made += 1
        follow(self, model)

    monkeypatch.setattr(BaseAveragedModel, "follow", counted)
    for _ in range(3):
        net(torch.ones(2, 4))
        average.update_parameters(net)
    assert (made, average.module.center.item()) == (0, 3.0)


def test_a_tensor_that_is_no_longer_in_the_model_is_let_go() -> None:
    net = Net()
    watch = Watch(net)
    assert not watch.changed()
    net.center = net.center + 1
    assert watch.changed()
    assert watch.replaced() is not None
    watch.renew()
    assert not watch.changed()


def test_sources_are_brought_beside_the_average_only_where_they_are_not() -> None:
    average, alike = [torch.zeros(2)], [torch.ones(2)]
    assert _beside(average, alike) is alike
    assert _beside(average, [torch.ones(2, dtype=torch.half)])[0].dtype == torch.float32
    assert _beside([torch.zeros(2, device="meta")], alike)[0].device.type == "meta"


@pytest.mark.parametrize("update_buffers", [False, True])
def test_the_checkpoint_and_the_validation_hold_the_present_value(
    make_state: Make, train: Train, tmp_path: Path, update_buffers: bool
) -> None:
    net, seen = Net(), []
    hooks = [EMAHook(momentum=0.5, update_buffers=update_buffers), CheckpointHook(interval=4, by_epoch=False)]

    def look(state: Any) -> dict[str, float]:
        seen.append(net.center.item())
        return {"mIoU": 0.5}

    train(make_state(hooks, 4, net), every=2, metrics=look)
    file = torch.load(tmp_path / "out" / "iter_4.pth", weights_only=True)
    averaged = [1.0, 1.5, 2.25, 3.125] if update_buffers else [1.0, 2.0, 3.0, 4.0]
    assert seen == [averaged[1], averaged[3]]
    assert file["state_dict"]["center"].item() == averaged[3]
    assert file["ema_state_dict"]["module.center"].item() == 4.0
    assert net.center.item() == 4.0
