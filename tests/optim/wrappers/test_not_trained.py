"""Parameters that a model sets anew, adds or sets free after its optimizer was built are told by name."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from seg_optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict, build_optim_wrapper, freeze
from torch import nn

BIASES = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2.0}}
PLAIN = {"optimizer": {"type": "SGD", "lr": 0.1}}


def steps(wrapper: OptimWrapper, net: nn.Module, count: int) -> None:
    for _ in range(count):
        wrapper.update_params(net(torch.ones(2, 4)).float().sum())


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What each line on parameters that are not trained names."""
    lines = [text for text in caplog.messages if text.startswith("not trained: ")]
    return [text.removeprefix("not trained: ").partition(". These were")[0] for text in lines]


def other_tensor(net: Any) -> None:
    net.head.bias = nn.Parameter(torch.zeros(2))


def other_module(net: Any) -> None:
    net.head = nn.Linear(4, 5)


def other_names(net: Any) -> None:
    net.head = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2, bias=False))


def weight_norm(net: Any) -> None:
    nn.utils.parametrizations.weight_norm(net.head)


CHANGES: list[tuple[Callable[[Any], None], str]] = [
    (other_tensor, "head.bias"),
    (other_module, "head.weight, head.bias"),
    (other_names, "head.0.weight, head.0.bias, head.1.weight"),
    (weight_norm, "head.parametrizations.weight.original0, head.parametrizations.weight.original1"),
]


@pytest.mark.parametrize("cfg", [BIASES, PLAIN])
@pytest.mark.parametrize(("change", "names"), CHANGES)
def test_what_was_replaced_is_named_once(
    cfg: dict[str, Any], change: Callable[[Any], None], names: str, vit: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    wrapper = build_optim_wrapper(vit, cfg)
    steps(wrapper, vit, 5)
    assert named(caplog) == []
    change(vit)
    steps(wrapper, vit, 3)  # the eighth step looks again
    assert named(caplog) == [names]
    wrapper.state_dict()
    steps(wrapper, vit, 8)
    assert named(caplog) == [names]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_looks_too(dtype: str, vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = build_optim_wrapper(vit, {**BIASES, "type": "AmpOptimWrapper", "dtype": dtype})
    assert isinstance(wrapper, AmpOptimWrapper)
    other_tensor(vit)
    steps(wrapper, vit, 1)
    assert named(caplog) == ["head.bias"]


def test_saving_a_state_looks(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = build_optim_wrapper(vit, BIASES)
    steps(wrapper, vit, 5)
    other_tensor(vit)
    wrapper.state_dict()
    assert named(caplog) == ["head.bias"]


def test_a_change_between_building_and_training_is_named_at_once(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrappers = [OptimWrapper(torch.optim.SGD(vit.parameters(), lr=0.1)), build_optim_wrapper(vit, BIASES)]
    other_module(vit)
    for wrapper in wrappers:
        wrapper.initialize_count_status(vit, 0, 10)
    assert named(caplog) == ["head.weight, head.bias"] * 2


def test_a_looked_at_model_may_be_wrapped(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = build_optim_wrapper(nn.DataParallel(vit), BIASES)
    wrapper.initialize_count_status(nn.DataParallel(vit), 0, 10)
    assert named(caplog) == []
    other_tensor(vit)
    wrapper.initialize_count_status(nn.DataParallel(vit), 0, 10)
    assert named(caplog) == ["head.bias"]


def test_many_are_counted(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = build_optim_wrapper(vit, PLAIN)
    vit.blocks = copy.deepcopy(vit.blocks)
    wrapper.state_dict()
    first = [f"blocks.0.{name}" for name in ("norm1.weight", "norm1.bias", "fc.weight", "fc.bias")]
    assert named(caplog) == [", ".join([*first, "blocks.1.norm1.weight"]) + " and 7 more"]


def test_values_set_in_place_and_groups_added_are_trained(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = build_optim_wrapper(vit, BIASES)
    vit.load_state_dict(copy.deepcopy(vit).state_dict())
    vit.head.weight.data = torch.ones(2, 4)
    vit.double().float().requires_grad_(True)
    vit.extra = nn.Linear(4, 4)
    wrapper.optimizer.add_param_group({"params": list(vit.extra.parameters())})
    steps(wrapper, vit, 4)
    wrapper.state_dict()
    assert named(caplog) == []
    vit.load_state_dict(copy.deepcopy(vit).state_dict(), assign=True)  # which does set them anew
    wrapper.state_dict()
    assert len(named(caplog)) == 1


def test_frozen_for_good_is_told_once_it_learns(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    freeze(vit, ["patch_embed"])
    later = freeze(vit, ["pos_embed"], until=2)
    wrapper = build_optim_wrapper(vit, BIASES)
    later.update(2)
    steps(wrapper, vit, 2)
    assert named(caplog) == []
    vit.patch_embed.requires_grad_(True)
    steps(wrapper, vit, 2)
    assert named(caplog) == ["patch_embed.weight, patch_embed.bias"]


def test_a_ready_optimizer_of_all_that_learns_is_told_of_what_learns_later(
    vit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    vit.patch_embed.requires_grad_(False)
    wrapper = OptimWrapper(torch.optim.SGD([p for p in vit.parameters() if p.requires_grad], lr=0.1))
    wrapper.initialize_count_status(vit, 0, 10)
    steps(wrapper, vit, 2)
    assert named(caplog) == []
    vit.patch_embed.requires_grad_(True)
    steps(wrapper, vit, 2)
    assert named(caplog) == ["patch_embed.weight, patch_embed.bias"]


def test_what_a_ready_optimizer_leaves_out_is_its_owners_choice(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = OptimWrapper(torch.optim.SGD(vit.head.parameters(), lr=0.1))
    vit.norm.requires_grad_(False)
    wrapper.initialize_count_status(vit, 0, 10)
    vit.norm.requires_grad_(True)
    steps(wrapper, vit, 4)
    assert named(caplog) == []
    other_tensor(vit)
    steps(wrapper, vit, 4)
    assert named(caplog) == ["head.bias"]


def test_of_a_model_that_is_not_the_optimizers_nothing_is_said(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    wrapper.initialize_count_status(vit, 0, 10)
    assert named(caplog) == []


@pytest.mark.filterwarnings("ignore:You are using .torch.load.:FutureWarning")  # torch 2.4's own way to unpickle
def test_models_go_and_wrappers_are_copied(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = build_optim_wrapper(vit, BIASES)
    for other in (copy.deepcopy(wrapper), pickle.loads(pickle.dumps(wrapper))):
        assert isinstance(other, OptimWrapper)
        assert other.state_dict()["param_groups"][0]["lr"] == 0.1
    del vit
    wrapper.state_dict()
    assert named(caplog) == []


def test_steps_between_do_not_look(vit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = build_optim_wrapper(vit, BIASES)
    looks: list[int] = []
    monkeypatch.setattr("seg_optim.wrappers.not_trained.Watch.look", lambda _: looks.append(wrapper.step_count))
    steps(wrapper, vit, 20)
    assert looks == [1, 2, 4, 8, 16]


def test_several_optimizers_are_looked_at_together(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    head = list(vit.head.parameters())
    body = [p for name, p in vit.named_parameters() if not name.startswith("head")]
    wrappers = OptimWrapperDict(
        head=OptimWrapper(torch.optim.SGD(head, lr=0.1)), body=OptimWrapper(torch.optim.SGD(body, lr=0.1))
    )
    for _ in range(2):
        wrappers.initialize_count_status(vit, 0, 10)
    steps(wrappers["body"], vit, 4)
    assert named(caplog) == []
    other_names(vit)
    wrappers["body"].optimizer.add_param_group({"params": list(vit.head[0].parameters())})
    steps(wrappers["body"], vit, 4)
    steps(wrappers["head"], vit, 1)
    wrappers.state_dict()
    assert named(caplog) == ["head.1.weight"]


def test_the_line_says_how_to_add_them_without_what_gathered(vit: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrapper = build_optim_wrapper(vit, PLAIN)
    other_tensor(vit)
    steps(wrapper, vit, 1)
    assert "optimizer.add_param_group(...)" in caplog.text


def test_building_for_a_whole_model_goes_through_its_names_once_at_most(monkeypatch):
    """Asking a module for names hands each through every module above it: most of what building cost."""
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in range(3)))
    walks, real = [], nn.Module.named_parameters
    monkeypatch.setattr(nn.Module, "named_parameters", lambda *a, **k: walks.append(1) or real(*a, **k))
    for paramwise in ({"norm_decay_mult": 0.0}, {"custom_keys": {"0.0": {"lr_mult": 2.0}}}):
        walks.clear()
        cfg = {"optimizer": {"type": "AdamW", "lr": 0.1, "weight_decay": 0.1}, "paramwise_cfg": paramwise}
        wrapper = build_optim_wrapper(net, cfg)
        assert len(walks) == 1  # to see whether there is something to train: it ends at the first one
    net[0][0].weight = nn.Parameter(torch.ones(2, 2))
    assert wrapper._watch.missing() == ["0.0.weight"]
