"""What stands in for the other packages: a plain optimizer's wrapper, a file of scalars, plain hooks."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import LogitsModel, Runner
from seg_runner.assembly.fallback_parts import FallbackOptimWrapper, FallbackVisualizer
from seg_runner.hooks.fallback import FALLBACK_HOOKS, fallback_hooks

MakeRunner = Callable[..., Runner]


def test_a_plain_optimizer_steps_like_by_hand() -> None:
    one, two = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    two.load_state_dict(one.state_dict())
    wrapper = FallbackOptimWrapper(torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9))
    optimizer = torch.optim.SGD(two.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        data = torch.randn(4, 2)
        with wrapper.optim_context(one):
            loss = one(data).square().mean()
        wrapper.update_params(loss)
        two(data).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(one.weight, two.weight)
    assert one.weight.grad is None
    assert wrapper.inner_count == 3


def test_rates_momenta_and_state() -> None:
    net = torch.nn.Linear(2, 1)
    wrapper = FallbackOptimWrapper(torch.optim.Adam(net.parameters(), lr=0.5, betas=(0.8, 0.9)))
    assert wrapper.get_lr() == {"lr": [0.5]}
    assert wrapper.get_momentum() == {"momentum": [0.8]}
    other = FallbackOptimWrapper(torch.optim.Adam(net.parameters(), lr=0.1))
    other.load_state_dict(wrapper.state_dict())
    assert other.get_lr() == {"lr": [0.5]}
    wrapper.initialize_count_status(net, 7, 10)
    assert wrapper.inner_count == 7


def test_scalars_go_to_a_file_whole_line_by_whole_line(tmp_path: Path) -> None:
    visualizer = FallbackVisualizer(tmp_path)
    visualizer.add_scalars({"loss": 1.5, "iou": np.float32(0.5)}, step=3)
    visualizer.add_scalars({"loss": torch.tensor(2.0)}, step=4, file_path="other.json")
    lines = (tmp_path / "vis_data" / "scalars.json").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"loss": 1.5, "iou": 0.5, "step": 3}, {"loss": 2.0, "step": 4}]
    assert (tmp_path / "vis_data" / "other.json").read_text() == lines[1] + "\n"
    visualizer.close()


def test_the_config_is_kept_beside_the_scalars(tmp_path: Path) -> None:
    class Config:
        pretty_text = "a = 1\n"

    FallbackVisualizer(tmp_path).add_config(Config())
    assert (tmp_path / "vis_data" / "config.py").read_text() == "a = 1\n"


@pytest.mark.parametrize("slot", FALLBACK_HOOKS)
def test_each_plain_hook_steps_aside_for_its_namesake_and_its_subclasses(slot: str) -> None:
    real = type(FALLBACK_HOOKS[slot][1], (), {})
    mine = type("Mine", (real,), {})
    assert slot not in fallback_hooks([mine()], [], {})
    assert slot not in fallback_hooks([], [slot], {})
    kept = fallback_hooks([], [], {})
    assert fallback_hooks([], [], kept)[slot] is kept[slot]


def test_the_time_left_is_never_negative_and_counts_this_session(make_runner: MakeRunner) -> None:
    seen: list[float] = []

    class Looks:
        priority = "LOWEST"

        def after_train_iter(self, runner: Any) -> None:
            seen.append(runner.message_hub.get_info("eta"))

    make_runner(hooks=[Looks()]).train()
    assert all(eta >= 0 for eta in seen)
    assert seen[-1] == 0


def test_by_epoch_schedulers_are_stepped_by_epoch(make_runner: MakeRunner) -> None:
    class Counts:
        def __init__(self, by_epoch: bool) -> None:
            self.by_epoch, self.steps = by_epoch, 0

        def step(self) -> None:
            self.steps += 1

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Any) -> None: ...

    schedules = [Counts(True), Counts(False)]
    make_runner(param_scheduler=schedules, train_cfg={"max_epochs": 2}).train()
    assert [one.steps for one in schedules] == [2, 6]


class PerClass:
    """A metric whose result is one number for each class, as torchmetrics' with `average=None`."""

    def update(self, prediction: torch.Tensor, truth: torch.Tensor) -> None: ...

    def compute(self) -> torch.Tensor:
        return torch.tensor([0.25, 0.5, 0.75])

    def reset(self) -> None: ...


def test_a_metric_of_several_numbers_is_kept_and_printed(make_runner: MakeRunner) -> None:
    runner = make_runner(val_evaluator=PerClass())
    runner.train()
    assert runner.message_hub.get_info("val/PerClass") == [0.25, 0.5, 0.75]
    assert "PerClass: [0.25, 0.5, 0.75]" in next(runner.log_dir.glob("*.log")).read_text()


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
    return [text.removeprefix("not trained: ").partition(". The model")[0] for text in lines]


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


def test_what_was_frozen_and_learns_later_is_told(caplog: pytest.LogCaptureFixture) -> None:
    net = Two()
    net.first.requires_grad_(False)
    wrapper = started(net, [parameter for parameter in net.parameters() if parameter.requires_grad])
    steps(wrapper, net, 2)
    assert untrained(caplog) == []
    net.first.requires_grad_(True)
    steps(wrapper, net, 2)
    assert untrained(caplog) == ["first.weight, first.bias"]


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
    assert next(runner.log_dir.glob("*.log")).read_text().count("not trained: scale. The model") == 1


def test_schedulers_that_a_hook_exchanges_or_adds_are_stepped(make_runner: MakeRunner) -> None:
    class Counts:
        def __init__(self) -> None:
            self.steps, self.by_epoch = 0, False

        def step(self) -> None:
            self.steps += 1

        def state_dict(self) -> dict[str, Any]:
            return {}

    first, second, third = Counts(), Counts(), Counts()

    class Exchanges:
        def before_train_iter(self, runner: Any) -> None:
            if runner.iter == 2:
                runner.param_schedulers = {"net": [second]}
            if runner.iter == 5:
                runner.param_schedulers["net"].append(third)

    make_runner(param_scheduler=[first], hooks=[Exchanges()], default_hooks={"checkpoint": None}).train()
    assert [one.steps for one in (first, second, third)] == [2, 4, 1]
