"""Parameters that learn and that a plain optimizer does not hold are named, each once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_runner import LogitsModel, Runner
from seg_runner.assembly.fallback import FallbackOptimWrapper

MakeRunner = Callable[..., Runner]


class Two(torch.nn.Module):
    """Two layers; the second may be set anew."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x))


def untrained(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What each line on parameters that are not trained names."""
    lines = [text for text in caplog.messages if text.startswith("not trained: ")]
    return [text.removeprefix("not trained: ").partition(". These were")[0] for text in lines]


def started(net: torch.nn.Module, parameters: Any = None) -> FallbackOptimWrapper:
    wrapper = FallbackOptimWrapper(torch.optim.SGD(parameters or net.parameters(), lr=0.1))
    wrapper.initialize_count_status(net, 0, 100)
    return wrapper


def steps(wrapper: FallbackOptimWrapper, net: torch.nn.Module, count: int) -> None:
    for _ in range(count):
        wrapper.update_params(net(torch.ones(1, 2)).sum())


def other_tensor(net: Any) -> None:
    net.last.bias = torch.nn.Parameter(torch.zeros(1))


def other_module(net: Any) -> None:
    net.last = torch.nn.Linear(2, 1)


def weight_norm(net: Any) -> None:
    torch.nn.utils.parametrizations.weight_norm(net.last)


def one_more(net: Any) -> None:
    net.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))


def values_assigned(net: Any) -> None:
    net.load_state_dict({name: value.clone() for name, value in net.state_dict().items()}, assign=True)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (other_tensor, "last.bias"),
        (other_module, "last.weight, last.bias"),
        (weight_norm, "last.parametrizations.weight.original0, last.parametrizations.weight.original1"),
        (one_more, "scale"),
        (values_assigned, "first.weight, first.bias, last.weight, last.bias"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda net: net, torch.nn.DataParallel, LogitsModel])
def test_parameters_set_anew_are_told_once(
    change: Callable[[Any], None], names: str, wrap: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    net = Two()
    model = wrap(net)
    wrapper = FallbackOptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1))
    wrapper.initialize_count_status(model, 0, 100)
    steps(wrapper, net, 5)
    assert untrained(caplog) == []
    change(net)
    steps(wrapper, net, 3)  # the eighth step looks again
    assert untrained(caplog) == [names]
    steps(wrapper, net, 8)
    wrapper.state_dict()
    assert untrained(caplog) == [names]


def test_a_change_before_training_and_one_before_saving_are_told(caplog: pytest.LogCaptureFixture) -> None:
    net = Two()
    wrapper = FallbackOptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1))
    other_tensor(net)
    wrapper.initialize_count_status(net, 0, 100)
    assert untrained(caplog) == ["last.bias"]
    steps(wrapper, net, 5)
    other_module(net)
    wrapper.state_dict()
    assert untrained(caplog)[1:] == ["last.weight"]  # the other was told


def test_steps_before_the_run_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    net = Two()
    wrapper = FallbackOptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1))
    steps(wrapper, net, 5)
    wrapper.initialize_count_status(net, 0, 100)
    other_tensor(net)
    steps(wrapper, net, 1)
    assert untrained(caplog) == ["last.bias"]


def test_what_was_frozen_and_learns_later_is_told(caplog: pytest.LogCaptureFixture) -> None:
    net = Two()
    net.first.requires_grad_(False)
    wrapper = started(net, [parameter for parameter in net.parameters() if parameter.requires_grad])
    steps(wrapper, net, 2)
    assert untrained(caplog) == []
    net.first.requires_grad_(True)
    steps(wrapper, net, 2)
    assert untrained(caplog) == ["first.weight, first.bias"]


@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # torch 2.4 does, to unpickle a tensor
def test_what_the_owner_leaves_out_and_groups_added_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    net: Any = Two()
    wrapper = started(net, net.last.parameters())
    steps(wrapper, net, 4)
    other_module(net)
    wrapper.optimizer.add_param_group({"params": list(net.last.parameters())})
    net.double().float()
    steps(wrapper, net, 4)
    assert untrained(caplog) == []
    twin = copy.deepcopy(wrapper)
    assert pickle.loads(pickle.dumps(twin)).get_lr() == {"lr": [0.1, 0.1]}
    del net
    wrapper.state_dict()


def test_a_run_with_a_plain_optimizer_tells_it(make_runner: MakeRunner) -> None:
    class Grows:
        def before_train_iter(self, runner: Any) -> None:
            if runner.iter == 1:
                runner.model.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))

    runner = make_runner(hooks=[Grows()])
    runner.train()
    assert next(runner.log_dir.glob("*.log")).read_text().count("not trained: scale. These were") == 1
