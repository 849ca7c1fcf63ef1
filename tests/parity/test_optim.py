"""Groups, rates and states equal MMEngine's and MMSegmentation's on their own models and configs."""

from __future__ import annotations

import copy
import importlib.util
from importlib.metadata import distributions
from typing import Any

import pytest
import torch

for package in ("mmengine", "mmcv", "mmseg", "mmpretrain"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from helpers.published_models import CONFIGS, model_and_settings  # noqa: E402
from seg_optim import build_optim_wrapper  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
MODELS = list(CONFIGS)


def reference_wrapper(model: Any, cfg: dict[str, Any]) -> Any:
    from mmengine.optim import build_optim_wrapper as build

    cfg = copy.deepcopy(cfg)
    cfg["type"] = "OptimWrapper"
    cfg.pop("loss_scale", None)
    if "constructor" in cfg:
        cfg["constructor"] = f"mmseg.{cfg['constructor']}"
    return build(model, cfg)


def rates(model: Any, wrapper: Any) -> dict[str, tuple[float, float]]:
    where = {id(p): (g["lr"], g["weight_decay"]) for g in wrapper.optimizer.param_groups for p in g["params"]}
    return {name: where[id(parameter)] for name, parameter in model.named_parameters()}


def plain(cfg: dict[str, Any], **paramwise: Any) -> dict[str, Any]:
    cfg = {**copy.deepcopy(cfg), "type": "OptimWrapper", "implementation": "torch"}
    cfg.pop("loss_scale", None)
    cfg["paramwise_cfg"].update(paramwise)
    return cfg


def test_the_engine_is_the_forks_where_the_fork_is_installed() -> None:
    import mmengine

    versions = {dist.name: dist.version for dist in distributions() if dist.name in ("mmengine", "onedl-mmengine")}
    assert mmengine.__version__ == versions.get("onedl-mmengine", versions.get("mmengine"))


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_the_references_rates(name: str) -> None:
    model, cfg = model_and_settings(name)
    ours, theirs = build_optim_wrapper(model, cfg), reference_wrapper(model, cfg)
    assert rates(model, ours) == rates(model, theirs)
    settings = {(g["lr"], g["weight_decay"]) for g in theirs.optimizer.param_groups}
    assert len(ours.optimizer.param_groups) == len(
        settings | {(g["lr"], g["weight_decay"]) for g in ours.optimizer.param_groups}
    )
    assert ours.get_lr()["base_lr"] == theirs.get_lr()["base_lr"]
    assert ours.get_lr()["lr"][0] == theirs.get_lr()["lr"][0]


@pytest.mark.parametrize("name", MODELS)
def test_the_layout_is_the_references(name: str) -> None:
    model, cfg = model_and_settings(name)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    theirs = [[names[id(p)] for p in g["params"]] for g in reference_wrapper(model, cfg).optimizer.param_groups]
    assert build_optim_wrapper(model, cfg).layout == theirs


@pytest.mark.parametrize("name", MODELS)
def test_unfused_groups_have_the_references_entries(name: str) -> None:
    model, cfg = model_and_settings(name)
    ours = build_optim_wrapper(model, plain(cfg, fuse=False)).optimizer.param_groups
    theirs = reference_wrapper(model, cfg).optimizer.param_groups
    for mine, other in zip(ours, theirs, strict=True):
        shared = {key: value for key, value in mine.items() if key not in ("params", "name")}
        assert shared == {key: value for key, value in other.items() if key != "params"}


def train(model: Any, wrapper: Any, scheduler: Any, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        wrapper.step()
        wrapper.zero_grad()
        scheduler.step()


def small(name: str) -> tuple[Any, dict[str, Any]]:
    """The model's names with four elements a tensor: what matters here are names, not sizes."""
    model, cfg = model_and_settings(name)
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = torch.zeros([min(size, 2) for size in parameter.shape])
    return model, cfg


@pytest.mark.parametrize("name", ["segformer-b0", "beit-b"])
def test_states_go_both_ways_and_training_goes_on_bit_for_bit(name: str) -> None:
    from mmengine.optim import PolyLR as TheirPoly
    from seg_optim import PolyLR

    clip = {"clip_grad": {"max_norm": 0.5}}
    model, cfg = small(name)
    twin = copy.deepcopy(model)
    schedule = {"eta_min": 1e-6, "power": 0.9, "begin": 0, "end": 30, "by_epoch": False}
    ours = build_optim_wrapper(model, plain(cfg) | clip)
    theirs = reference_wrapper(twin, cfg | clip)
    our_schedule, their_schedule = PolyLR(ours, **schedule), TheirPoly(theirs, **schedule)
    for _ in range(2):
        train(model, ours, our_schedule, 4)
        train(twin, theirs, their_schedule, 4)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
        mine, other = ours.state_dict(), theirs.state_dict()
        assert list(mine["state"]) == list(other["state"])
        assert all(
            torch.equal(mine["state"][i][k], other["state"][i][k]) for i in mine["state"] for k in mine["state"][i]
        )
        my_position, other_position = our_schedule.state_dict(), their_schedule.state_dict()
        assert {key: my_position[key] for key in other_position} == other_position
        ours.load_state_dict(copy.deepcopy(other))
        theirs.load_state_dict(copy.deepcopy(mine))
        our_schedule.load_state_dict(other_position)
        their_schedule.load_state_dict(my_position)


RULES: list[dict[str, Any]] = [
    {"norm_decay_mult": 0.0},
    {"bias_lr_mult": 2.0, "bias_decay_mult": 0.0},
    {"dwconv_decay_mult": 0.0, "flat_decay_mult": 0.5},
    {"norm_decay_mult": 0.1, "flat_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}},
    {"custom_keys": {"layers.1": {"lr_mult": 0.1, "decay_mult": 0.5}, "layers.1.1": {"lr": 0.3}, "norm": {}}},
    {"bypass_duplicate": True, "bias_lr_mult": 3.0},
]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "+".join(rules))
@pytest.mark.parametrize("name", ["segformer-b0", "convnext-t"])
def test_every_rule_gives_the_references_rates(name: str, rules: dict[str, Any]) -> None:
    model, _ = model_and_settings(name)
    optimizer = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005}
    cfg = {"type": "OptimWrapper", "optimizer": optimizer, "paramwise_cfg": rules}
    ours, theirs = build_optim_wrapper(model, cfg), reference_wrapper(model, cfg)
    assert rates(model, ours) == rates(model, theirs)


@pytest.mark.parametrize("rules", RULES[:5], ids=lambda rules: "+".join(rules))
def test_forced_rules_give_the_references_rates(rules: dict[str, Any]) -> None:
    model, _ = model_and_settings("segformer-b0")
    cfg = {
        "constructor": "ForceDefaultOptimWrapperConstructor",
        "optimizer": {"type": "SGD", "lr": 0.01, "weight_decay": 0.0005},
        "paramwise_cfg": {**rules, "force_default_settings": True},
    }
    assert rates(model, build_optim_wrapper(model, cfg)) == rates(model, reference_wrapper(model, cfg))


def test_layer_wise_ids_of_convnext() -> None:
    for name, layers in (("convnext-t", 6), ("convnext-b", 12)):
        model, cfg = model_and_settings(name)
        cfg = {**cfg, "paramwise_cfg": {"decay_rate": 0.8, "decay_type": "layer_wise", "num_layers": layers}}
        theirs = rates(model, reference_wrapper(model, cfg))
        assert rates(model, build_optim_wrapper(model, cfg)) == theirs
        cfg["paramwise_cfg"]["num_layers"] = "auto"
        assert rates(model, build_optim_wrapper(model, cfg)) == theirs
