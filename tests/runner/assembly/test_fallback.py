"""What stands in for the other packages: a plain optimizer's wrapper, and fallback hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_runner import Runner
from seg_runner.assembly.fallback import FALLBACK_HOOKS, FallbackOptimWrapper, fallback_hooks

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


@pytest.mark.parametrize("slot", FALLBACK_HOOKS)
def test_each_fallback_hook_steps_aside_for_its_namesake_and_its_subclasses(slot: str) -> None:
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
