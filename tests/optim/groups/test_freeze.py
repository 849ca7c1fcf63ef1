"""Freezing: no gradients, norms stay in eval mode, thawing in time."""

from __future__ import annotations

import copy
import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seg_optim import FreezeHook, build_optim_wrapper, freeze, layer_decay_param_groups
from torch import nn

CFG = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 1.0}}}}


def step(net: nn.Module, wrapper: object) -> None:
    wrapper.update_params(net(torch.randn(2, 3, 4, 4)).square().mean())  # type: ignore[attr-defined]


def test_frozen_parameters_and_statistics_stay_through_training(convnet: nn.Module) -> None:
    frozen = freeze(convnet, ["stem", "norm"])
    assert frozen.names == ["stem.weight", "stem.bias", "norm.weight", "norm.bias"]
    assert frozen.norms == ["norm"]
    before = copy.deepcopy(convnet.state_dict())
    wrapper = build_optim_wrapper(convnet, CFG)
    assert sum(len(group["params"]) for group in wrapper.optimizer.param_groups) == 4
    for _ in range(3):
        convnet.train()
        assert not convnet.norm.training
        step(convnet, wrapper)
    after = convnet.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"depthwise.weight", "depthwise.bias", "head.weight", "head.bias"}


def test_a_norm_with_one_parameter_left_goes_on(convnet: nn.Module) -> None:
    assert freeze(convnet, "norm.bias").norms == []
    assert convnet.train().norm.training


@pytest.mark.parametrize(
    ("patterns", "match", "count"),
    [("norm", "exact", 2), ("*.weight", "glob", 4), ("ste", "substring", 2), (r"^(stem|head)\.", "regex", 4)],
)
def test_patterns(convnet: nn.Module, patterns: str, match: str, count: int) -> None:
    assert len(freeze(convnet, patterns, match=match).names) == count


def test_a_pattern_without_a_match_is_an_error(convnet: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"'stam' matches no parameter\. Did you mean 'stem'"):
        freeze(convnet, ["head", "stam"])
    assert all(parameter.requires_grad for parameter in convnet.parameters())


@pytest.mark.parametrize(
    ("patterns", "options", "error", "words"),
    [
        (None, {}, TypeError, "patterns=None, a name or a list of names"),
        ([3], {}, TypeError, r"patterns=\[3\]"),
        ("(", {"match": "regex"}, ValueError, "'\\(' is not a regular expression"),
        ("stem", {"match": "part"}, ValueError, "freeze: match='part': choose one of substring"),
        ("stem", {"until": "3"}, TypeError, "until='3'"),
        ("stem", {"until": -3}, ValueError, "until=-3"),
    ],
)
def test_bad_arguments(convnet: nn.Module, patterns: Any, options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        freeze(convnet, patterns, **options)
    with pytest.raises(TypeError, match="not a torch"):
        freeze([], "stem")  # type: ignore[arg-type]
    assert all(parameter.requires_grad for parameter in convnet.parameters())


def test_thawing_at_an_iteration(convnet: nn.Module) -> None:
    frozen = freeze(convnet, ["stem", "norm"], until=3)
    wrapper = build_optim_wrapper(convnet, CFG)
    assert sum(len(group["params"]) for group in wrapper.optimizer.param_groups) == 8
    weight, mean = convnet.stem.weight.detach().clone(), convnet.norm.running_mean.clone()
    for iteration in range(5):
        assert frozen.update(iteration) is (iteration == 3)
        convnet.train()
        step(convnet, wrapper)
        same = torch.equal(convnet.stem.weight, weight) and torch.equal(convnet.norm.running_mean, mean)
        assert same is (iteration < 3)
    assert convnet.norm.training
    assert not convnet.eval().norm.training


@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_what_thaws_gets_the_momentum_that_torch_gives_it(convnet: nn.Module, dampening: float) -> None:
    """Torch's fused SGD cannot take a parameter whose first gradient comes after the first step."""
    options = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "dampening": dampening, "weight_decay": 0.01}
    nets = []
    for implementation in ("auto", "plain"):
        net = copy.deepcopy(convnet)
        frozen = freeze(net, "stem", until=2)
        wrapper = build_optim_wrapper(net, {"optimizer": options, "implementation": implementation})
        torch.manual_seed(0)
        for iteration in range(5):
            frozen.update(iteration)
            step(net, wrapper)
        assert not wrapper.optimizer._optimizer_step_pre_hooks  # what helped is gone once all have a momentum
        nets.append(net)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_everything_frozen_for_a_while_can_be_built(convnet: nn.Module) -> None:
    freeze(convnet, [name for name, _ in convnet.named_children()], until=1)
    assert len(build_optim_wrapper(convnet, CFG).layout or []) == 8


def test_layer_decay_keeps_what_will_thaw(vit: nn.Module) -> None:
    freeze(vit, "blocks.0", until=5)
    freeze(vit, "blocks.1")
    names = {group["name"] for group in layer_decay_param_groups(vit, lr=1.0, weight_decay=0.1, decay_rate=0.5)}
    assert "layer_1_decay" in names
    assert "layer_2_decay" not in names


def test_frozen_models_can_be_copied_and_saved(convnet: nn.Module) -> None:
    freeze(convnet, "norm")
    twin = copy.deepcopy(convnet)
    twin.train()
    assert not twin.norm.training
    assert twin.norm.train.module is twin.norm  # type: ignore[attr-defined]
    torch.save(convnet, buffer := io.BytesIO())
    buffer.seek(0)
    assert not torch.load(buffer, weights_only=False).train().norm.training
    assert convnet.state_dict().keys() == twin.state_dict().keys()


def test_the_hook_freezes_before_the_run_and_thaws_in_time(convnet: nn.Module) -> None:
    hook = FreezeHook(patterns=["stem"], until=2)
    runner = SimpleNamespace(model=convnet, iter=0)
    hook.before_train_iter(runner)
    hook.before_run(runner)
    states = []
    for runner.iter in range(4):
        hook.before_train_iter(runner)
        states.append(convnet.stem.weight.requires_grad)
    assert states == [False, False, True, True]
    frozen = freeze(convnet, "head", until=1)
    frozen.before_train_iter(runner)
    assert not frozen.frozen


def norm_in_a_sequence(net: Any) -> None:
    net.norm = nn.Sequential(net.norm)


def other_stem(net: Any) -> None:
    net.stem = nn.Conv2d(3, 8, 1)


def frozen_copy(net: Any) -> None:
    net.stem = copy.deepcopy(net.stem)


def weight_norm(net: Any) -> None:
    nn.utils.parametrizations.weight_norm(net.stem)


def spectral_norm(net: Any) -> None:
    nn.utils.parametrizations.spectral_norm(net.stem)


def no_bias(net: Any) -> None:
    net.stem = nn.Conv2d(3, 8, 1, bias=False)


def no_stem(net: Any) -> None:
    net.stem = nn.Identity()


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (norm_in_a_sequence, []),
        (other_stem, []),
        (frozen_copy, []),
        (weight_norm, []),
        (spectral_norm, []),
        (no_bias, ["stem.bias"]),
        (no_stem, ["stem.weight", "stem.bias"]),
    ],
)
def test_a_module_that_was_replaced_meanwhile_is_thawed_too(
    convnet: nn.Module, change: Any, gone: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    frozen = freeze(convnet, ["stem", "norm"], until=3)
    change(convnet)
    assert frozen.update(3)
    assert all(parameter.requires_grad for parameter in convnet.parameters())
    convnet.train()
    assert all(module.training for module in convnet.modules())
    assert not any(module.training for module in convnet.eval().modules())
    told = [text for text in caplog.messages if "no longer in the model" in text]
    assert [text.rpartition(": ")[2].split(", ") for text in told] == ([gone] if gone else [])


def test_thawing_one_part_leaves_another_frozen(convnet: nn.Module) -> None:
    first, second = freeze(convnet, ["stem", "norm"]), freeze(convnet, ["head"], until=5)
    twin = copy.deepcopy((convnet, second))
    second.unfreeze()
    convnet.train()
    assert [name for name, p in convnet.named_parameters() if not p.requires_grad] == first.names
    assert not convnet.norm.training
    twin[1].unfreeze()
    assert twin[0].head.weight.requires_grad
    second.unfreeze()
