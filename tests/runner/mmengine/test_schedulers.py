"""A scheduler that derives from MMEngine's gets an optimizer, and its state fits the groups of both engines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner.mmengine.schedulers import OptimizerView, load_scheduler_state, optimizer_for, scheduler_state

Base = type("_ParamScheduler", (), {"__module__": "mmengine.optim.scheduler.param_scheduler"})


class Wrapper:
    """Two groups of ours stand for three of MMEngine's."""

    def __init__(self) -> None:
        self.optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in "ab"], lr=0.1)
        self.steps = 0

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self.optimizer.param_groups, {"params": [], "lr": 0.1}]

    def step(self, **given: Any) -> None:
        self.steps += 1

    def unfold(self, values: list[Any]) -> list[Any]:
        return [values[0], *values]

    def fold(self, values: list[Any]) -> list[Any] | None:
        return values[1:] if len(values) == 4 else None


class Scheduler(Base):  # type: ignore[misc, valid-type]
    def __init__(self, optimizer: Any) -> None:
        assert isinstance(optimizer, torch.optim.Optimizer)
        self.optimizer = optimizer
        optimizer._global_step = 0
        self.base_values = [group["lr"] for group in optimizer.param_groups]
        self.milestones = [3, 4, 5]
        self.anneal = max

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "optimizer"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def test_the_wrapper_is_seen_as_an_optimizer() -> None:
    wrapper = Wrapper()
    view = optimizer_for(Scheduler, wrapper)
    assert isinstance(view, torch.optim.Optimizer)
    view.param_groups[0]["lr"] = 0.5
    assert wrapper.optimizer.param_groups[0]["lr"] == 0.5
    wrapper.optimizer.param_groups = wrapper.optimizer.param_groups[:1]  # as loading a state puts others there
    assert len(view.param_groups) == 2
    view.step()
    view.step(lambda: None)
    assert wrapper.steps == 2
    assert view.fold is not None
    with pytest.raises(AttributeError, match="no_such"):
        view.no_such


def test_others_get_the_wrapper_itself() -> None:
    wrapper = Wrapper()
    assert optimizer_for(torch.optim.lr_scheduler.StepLR, wrapper) is wrapper
    assert optimizer_for(Scheduler, wrapper.optimizer) is wrapper.optimizer
    theirs = type("OptimWrapper", (), {"__module__": "mmengine.optim"})()
    assert optimizer_for(Scheduler, theirs) is theirs


def test_a_state_has_a_value_for_each_group_of_mmengine_and_no_function() -> None:
    scheduler = Scheduler(OptimizerView(Wrapper()))
    state = scheduler_state(scheduler)
    assert state == {"base_values": [0.1] * 4, "milestones": [3, 4, 5]}
    load_scheduler_state(scheduler, {**state, "base_values": [1.0, 2.0, 3.0, 4.0]})
    assert scheduler.base_values == [2.0, 3.0, 4.0]
    load_scheduler_state(scheduler, {"base_values": [5.0, 6.0, 7.0]})  # written with our groups
    assert scheduler.base_values == [5.0, 6.0, 7.0]
