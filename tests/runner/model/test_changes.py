"""What is put round or into a model: norms, layout, activation checkpointing, compilation, scaled rates."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seg_runner.assembly.fallback_parts import PlainWrapper
from seg_runner.model.changes import (
    batch_size_of,
    checkpoint_activations,
    compile_model,
    convert_batch_norms,
    init_weights,
    revert_sync_batch_norms,
    scale_lr,
    use_channels_last,
)
from torch import nn


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4), nn.Sequential(nn.ReLU(), nn.SyncBatchNorm(4)))


def test_sync_batch_norm_to_plain_and_back_keeps_weights_and_names() -> None:
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    plain, count = revert_sync_batch_norms(model)
    assert count == 2
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in plain.modules())
    assert plain(torch.randn(2, 3, 5, 5)).shape == (2, 4, 5, 5)
    again, count = convert_batch_norms(plain)
    assert count == 2
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in again.modules()) == 2
    assert list(again.state_dict()) == list(before)
    assert all(one is two for one, two in zip(again.parameters(), parameters, strict=True))


def test_a_lone_norm_is_converted_too() -> None:
    model, count = revert_sync_batch_norms(nn.SyncBatchNorm(3))
    assert count == 1
    assert model(torch.randn(4, 3)).shape == (4, 3)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        model(torch.randn(4))


@pytest.mark.parametrize("names", ["0", ["0", "2"], ["2.*"]])
def test_activations_computed_again_give_the_same_gradients_and_names(names: Any) -> None:
    model, other = revert_sync_batch_norms(net())[0], revert_sync_batch_norms(net())[0]
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


def test_compiling_keeps_the_names_in_checkpoints() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    compile_model(model, {"backend": "eager"})
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    assert model(torch.zeros(1, 2)).shape == (1, 2)


def test_a_model_says_itself_what_is_compiled() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        @property
        def compile_target(self) -> nn.Module:
            return self.inner

    model = Outer()
    compile_model(model, {"backend": "eager"})
    assert model.inner._compiled_call_impl is not None
    assert model._compiled_call_impl is None


def test_models_initialise_themselves() -> None:
    class Own(nn.Module):
        def init_weights(self) -> None:
            self.done = True

    model = Own()
    init_weights(model)
    assert model.done
    init_weights(nn.Linear(1, 1))


def test_rates_follow_the_batch_size() -> None:
    wrapper = PlainWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    runner = SimpleNamespace(world_size=1, logger=logging.getLogger("quiet"), param_schedulers=[])
    scale_lr(wrapper, {"enable": True, "base_batch_size": 16}, 4, runner)
    assert wrapper.get_lr() == {"lr": [0.025]}
    scale_lr(wrapper, {"enable": False, "base_batch_size": 16}, 4, runner)
    scale_lr(wrapper, None, 4, runner)
    assert wrapper.get_lr() == {"lr": [0.025]}
    with pytest.raises(ValueError, match="needs base_batch_size"):
        scale_lr(wrapper, {"enable": True}, 4, runner)
    with pytest.raises(ValueError, match="cannot see the batch size"):
        scale_lr(wrapper, {"enable": True, "base_batch_size": 16}, None, runner)


def test_the_batch_size_is_read_where_it_stands() -> None:
    loader = torch.utils.data.DataLoader([1, 2, 3], batch_size=3)
    assert batch_size_of({}, loader) == 3
    batched = torch.utils.data.DataLoader([1, 2, 3], batch_sampler=loader.batch_sampler)
    assert batch_size_of({}, batched) == 3
    assert batch_size_of({"train_dataloader": {"batch_size": 5}}, [1]) == 5
    assert batch_size_of({}, [1]) is None
