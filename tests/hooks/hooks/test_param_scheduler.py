from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seg_hooks import ParamSchedulerHook


class Steps:
    """Notes when it is stepped."""

    def __init__(self, log: list[Any], name: str, **attributes: Any) -> None:
        self.log, self.name = log, name
        self.__dict__.update(attributes)

    def step(self, metrics: Any = None) -> None:
        self.log.append(self.name if metrics is None else (self.name, metrics))


def run(schedulers: Any) -> None:
    hook, runner = ParamSchedulerHook(), SimpleNamespace(param_schedulers=schedulers)
    hook.before_train(runner)
    for index in range(2):
        hook.after_train_iter(runner, batch_idx=index)
    hook.after_train_epoch(runner)
    hook.after_val_epoch(runner, metrics={"mIoU": 1.0})
    hook.after_val_epoch(runner, metrics=None)


def test_each_at_its_moment_in_the_order_of_the_list() -> None:
    log: list[Any] = []
    iters = [Steps(log, name, by_epoch=False) for name in "ab"]
    epochs = [Steps(log, "c", by_epoch=True), Steps(log, "d")]
    plateau = Steps(log, "p", by_epoch=True, need_val_args=True)
    run([iters[0], epochs[0], iters[1], plateau, epochs[1]])
    assert log == ["a", "b", "a", "b", "c", "p", "d", ("p", {"mIoU": 1.0})]


def test_dicts_of_lists_single_ones_and_none() -> None:
    log: list[Any] = []
    run({"one": [Steps(log, "a", by_epoch=False)], "two": [Steps(log, "b", by_epoch=False)]})
    run(Steps(log, "c", by_epoch=False))
    run(None)
    assert log == ["a", "b", "a", "b", "c", "c"]


def test_what_is_no_scheduler_is_an_error() -> None:
    with pytest.raises(TypeError, match="param_schedulers is a str"):
        run("PolyLR")


def test_torchs_plateau_names_its_successor() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    with pytest.raises(TypeError, match="ReduceOnPlateauLR"):
        run([torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)])


def test_it_runs_before_checkpoints_are_saved() -> None:
    from seg_hooks import CheckpointHook, LoggerHook
    from seg_hooks.own_loop.points import in_order

    hooks = in_order([CheckpointHook(), ParamSchedulerHook(), LoggerHook()])
    assert [type(hook).__name__ for hook in hooks] == ["LoggerHook", "ParamSchedulerHook", "CheckpointHook"]
