"""What is done to a model before it is trained: initialisation, memory layout, activation checkpointing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner.model.prepare import checkpoint_activations, init_weights, use_channels_last
from torch import nn


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)))


@pytest.mark.filterwarnings("ignore:`torch.cpu.amp.autocast:FutureWarning")  # torch 2.4 uses its own old name
@pytest.mark.parametrize("names", ["0", ["0", "2"], ["2.*"]])
def test_activations_computed_again_give_the_same_gradients_and_names(names: Any) -> None:
    model, other = net(), net()
    keys = list(model.state_dict())
    assert checkpoint_activations(model, names)
    images = torch.randn(2, 3, 5, 5, requires_grad=True)
    model(images).sum().backward()
    other(images).sum().backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad)
    assert list(model.state_dict()) == keys
    with torch.no_grad():
        assert not model(images).requires_grad


def test_a_module_that_is_not_there_is_named() -> None:
    model = nn.Sequential()
    model.add_module("backbone", nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"no module is called 'bakbone'.*Did you mean 'backbone'"):
        checkpoint_activations(model, "bakbone")


def test_channels_last() -> None:
    model = use_channels_last(nn.Conv2d(3, 4, 3))
    assert model.weight.is_contiguous(memory_format=torch.channels_last)


def test_models_initialise_themselves() -> None:
    class Own(nn.Module):
        def init_weights(self) -> None:
            self.done = True

    model = Own()
    init_weights(model)
    assert model.done
    init_weights(nn.Linear(1, 1))
