"""Our hooks beside the reference's, on the same input; skipped where that is not installed."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import seg_hooks
import torch
from torch import nn

if importlib.util.find_spec("mmengine") is None:
    pytest.skip("needs mmengine", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mmengine.hooks
    import mmengine.model


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names whose values differ in any bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("update_buffers", [False, True])
@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ExponentialMovingAverage", {"momentum": 0.0002}),
        ("ExponentialMovingAverage", {"momentum": 0.3}),
        ("MomentumAnnealingEMA", {"momentum": 0.01, "gamma": 7}),
        ("StochasticWeightAverage", {}),
    ],
)
def test_averages_are_equal_to_the_last_bit(
    name: str, options: dict[str, Any], interval: int, update_buffers: bool
) -> None:
    net = make_net()
    options = {**options, "interval": interval, "update_buffers": update_buffers}
    ours = getattr(seg_hooks, name)(net, **options)
    theirs = getattr(mmengine.model, name)(net, **options)
    for _ in range(12):
        for parameter in net.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        net(torch.randn(2, 3, 8, 8))
        ours.update_parameters(net)
        theirs.update_parameters(net)
    differing = same(dict(ours.state_dict()), dict(theirs.state_dict()))
    # the reference keeps the first count of batches for ever; ours follows the model
    assert differing == (["module.1.num_batches_tracked"] if update_buffers else [])


def runner_for(net: nn.Module) -> Any:
    """What both EMA hooks read."""
    import logging

    return SimpleNamespace(
        model=net, iter=0, epoch=0, max_iters=10, max_epochs=1, logger=logging.Logger("x"), resuming=True, _resume=True
    )


def trained(hook: Any, net: nn.Module, runner: Any) -> dict[str, Any]:
    """Ten steps under a hook, then the checkpoint that it makes."""
    hook.before_run(runner)
    hook.before_train(runner)
    generator = torch.Generator().manual_seed(1)
    for step in range(10):
        runner.iter = step
        for parameter in net.parameters():
            parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        hook.after_train_iter(runner, batch_idx=step)
    checkpoint = {"state_dict": copy.deepcopy(net.state_dict()), "meta": {}}
    hook.before_save_checkpoint(runner, checkpoint=checkpoint)
    return checkpoint


@pytest.mark.parametrize("begin_iter", [0, 4])
def test_checkpoints_with_an_average_are_equal_and_each_resumes_from_the_others(begin_iter: int) -> None:
    options = {"momentum": 0.1, "begin_iter": begin_iter}
    nets = [make_net(), make_net()]
    makers: list[Any] = [seg_hooks.EMAHook, mmengine.hooks.EMAHook]
    saved = [trained(make(**options), net, runner_for(net)) for make, net in zip(makers, nets, strict=True)]
    assert same(dict(saved[0]["state_dict"]), dict(saved[1]["state_dict"])) == []
    assert same(dict(saved[0]["ema_state_dict"]), dict(saved[1]["ema_state_dict"])) == []
    resumed = []
    for make, checkpoint in zip(makers, reversed(copy.deepcopy(saved)), strict=True):
        net = make_net()
        hook, runner = make(**options), runner_for(net)
        hook.before_run(runner)
        hook.after_load_checkpoint(runner, checkpoint=checkpoint)
        net.load_state_dict(checkpoint["state_dict"])
        resumed.append((dict(net.state_dict()), dict(hook.ema_model.state_dict())))
    assert same(resumed[0][0], resumed[1][0]) == []
    assert same(resumed[0][0], dict(nets[0].state_dict())) == []
    assert same(resumed[0][1], resumed[1][1]) == []


KEYS = ["mIoU", "miou", "aAcc", "coco/bbox_mAP", "AR@100", "loss", "val_loss", "top1_loss", "precision", "loss_iou"]


@pytest.mark.parametrize("key", KEYS)
def test_rules_are_inferred_alike(key: str) -> None:
    theirs = mmengine.hooks.CheckpointHook(save_best=key)
    assert [one.rule for one in seg_hooks.CheckpointHook(save_best=key).best] == theirs.rules


def test_helpers_count_alike() -> None:
    ours, theirs = seg_hooks.Hook(), mmengine.hooks.Hook()
    for index in range(12):
        runner = SimpleNamespace(iter=index, epoch=index, max_iters=9, max_epochs=7)
        for n in (-1, 0, 1, 2, 5):
            assert ours.every_n_inner_iters(index, n) == theirs.every_n_inner_iters(index, n)
            for start in (0, 1, 3):
                assert ours.every_n_train_iters(runner, n, start) == theirs.every_n_train_iters(runner, n, start)
                assert ours.every_n_epochs(runner, n, start) == theirs.every_n_epochs(runner, n, start)
        assert ours.is_last_train_iter(runner) == theirs.is_last_train_iter(runner)
        assert ours.is_last_train_epoch(runner) == theirs.is_last_train_epoch(runner)


@pytest.mark.parametrize(
    "name",
    [
        "CheckpointHook",
        "DistSamplerSeedHook",
        "EMAHook",
        "EarlyStoppingHook",
        "EmptyCacheHook",
        "IterTimerHook",
        "LoggerHook",
        "ParamSchedulerHook",
        "ProfilerHook",
        "RuntimeInfoHook",
        "SyncBuffersHook",
    ],
)
def test_options_defaults_and_priorities_are_those_of_the_reference(name: str) -> None:
    import inspect

    def options(cls: type) -> dict[str, Any]:
        if cls.__init__ is object.__init__:
            return {}
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}

    ours, theirs = getattr(seg_hooks, name), getattr(mmengine.hooks, name)
    assert options(theirs).items() <= options(ours).items()
    assert ours.priority == theirs.priority
