"""Groups: which are one, what each is called, and the model that a wrapper holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_optim.groups.collect import fuse, members, with_names
from seg_optim.unwrap import WRAPPERS, unwrap
from torch import nn


def tensors(count: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.full([2], float(index))) for index in range(count)]


def called(name: str, **parts: Any) -> nn.Module:
    """A module whose class has this name, and that holds these parts."""
    made = type(name, (nn.Module,), {})()
    for key, part in parts.items():
        setattr(made, key, part)
    return made


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_a_wrapper_is_known_by_its_class(name: str) -> None:
    net = nn.Linear(1, 1)
    assert unwrap(called(name, module=net)) is net
    assert unwrap(called(name, module=called(name, module=net))) is net
    assert unwrap(torch.compile(called(name, module=net), backend="eager")) is net  # type: ignore[arg-type]
    assert unwrap(nn.DataParallel(torch.compile(net, backend="eager"))) is net  # type: ignore[arg-type]
    empty = called(name, module="nothing")
    assert unwrap(empty) is empty


def test_a_part_called_module_is_no_reason_to_take_a_model_for_a_wrapper() -> None:
    for model in (called("Net", module=nn.Linear(1, 1)), called("Net", model=nn.Linear(1, 1)), nn.Linear(1, 1)):
        assert unwrap(model) is model
    compiled = called("Net", _orig_mod=called("Net", module=nn.Linear(1, 1)))
    assert unwrap(compiled) is compiled._orig_mod


def test_parameters_of_a_group_come_in_any_form() -> None:
    one, two = tensors(2)
    for given, expected in ((one, [one]), ([one, two], [one, two]), ((two, one), [two, one]), (iter([two]), [two])):
        found = members({"params": given})
        assert type(found) is list
        assert list(map(id, found)) == list(map(id, expected))


def test_groups_of_equal_settings_are_one() -> None:
    a, b, c, d, e, f = tensors(6)
    groups = [
        {"params": [a], "lr": 0.1},
        {"params": b},
        {"params": (c,), "weight_decay": 0.0},
        {"params": [d], "lr": 0.1, "weight_decay": 0.01, "lr_mult": 1.0, "param_names": ["d"]},
        {"params": [e], "lr": 0.2},
        {"params": [f], "lr": 0.1, "weight_decay": 0.0},
    ]
    fused = fuse(groups, {"lr": 0.1, "weight_decay": 0.01})
    assert [list(map(id, group["params"])) for group in fused] == [[id(a), id(b), id(d)], [id(c), id(f)], [id(e)]]
    assert [group.keys() - {"params"} for group in fused] == [{"lr"}, {"weight_decay"}, {"lr"}]
    assert groups[0]["params"] == [a]


def test_any_option_that_acts_keeps_groups_apart() -> None:
    settings: list[dict[str, Any]] = [{}, {"momentum": 0.9}, {"betas": [0.9, 0.99]}, {"betas": [0.9, 0.9]}]
    settings.append({"momentum": 0.9, "foreach": True})
    groups = [{"params": tensors(1), "name": f"number {index}", **each} for index, each in enumerate(settings * 2)]
    fused = fuse(groups, {})
    assert [len(group.pop("params")) for group in fused] == [2] * len(settings)
    assert fused == [{"name": f"number {index}", **each} for index, each in enumerate(settings)]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "base"),
        ({"lr": 0.1, "weight_decay": 0.01}, "base"),
        ({"lr": 0.1 * 3 / 3}, "base"),
        ({"lr": 1.0}, "lr_x10"),
        ({"lr": 0.0}, "no_lr"),
        ({"lr": 0.025}, "lr_x0.25"),
        ({"weight_decay": 0.0}, "no_decay"),
        ({"weight_decay": 0.02}, "decay_x2"),
        ({"lr": 0.2, "weight_decay": 0.0}, "lr_x2_no_decay"),
        ({"lr": 1.0, "name": "mine"}, "mine"),
    ],
)
def test_a_name_says_how_a_group_differs_from_the_base(options: dict[str, float], name: str) -> None:
    (group,) = with_names([{"params": tensors(1), **options}], lr=0.1, weight_decay=0.01)
    assert group["name"] == name


def test_each_name_is_given_once() -> None:
    groups: list[dict[str, Any]] = [{"params": [], "betas": each} for each in (1, 2, 3)]
    groups.insert(2, {"params": [], "name": "mine"})
    assert [group["name"] for group in with_names(groups, 0.1, 0.0)] == ["base", "base_2", "mine", "base_3"]


@pytest.mark.parametrize("base", [None, 0.0])
def test_without_a_base_there_is_nothing_to_be_a_multiple_of(base: float | None) -> None:
    for options in ({"lr": 0.1}, {"weight_decay": 0.1}):
        assert with_names([{"params": [], **options}], base, base)[0]["name"] == "base"
