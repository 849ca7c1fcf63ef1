"""Constructors and groups: the rules' values, fused groups, frozen and shared parameters, bad configs."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_optim import (
    AmpOptimWrapper,
    DefaultOptimWrapperConstructor,
    ForceDefaultOptimWrapperConstructor,
    OptimWrapper,
    build_optim_wrapper,
    param_groups,
)
from torch import nn

LR, DECAY = 0.01, 0.05


def config(paramwise: Any = None, **optimizer: Any) -> dict[str, Any]:
    return {
        "optimizer": {"type": "AdamW", "lr": LR, "weight_decay": DECAY} | optimizer,
        "paramwise_cfg": paramwise,
    }


def rates(model: nn.Module, wrapper: OptimWrapper) -> dict[str, tuple[float, float]]:
    groups = wrapper.optimizer.param_groups
    where = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert len(where) == sum(len(g["params"]) for g in groups)
    return {name: where[id(p)] for name, p in model.named_parameters() if id(p) in where}


def test_no_rules_is_one_group_with_all_parameters(convnet: nn.Module) -> None:
    convnet.stem.weight.requires_grad_(False)
    wrapper = build_optim_wrapper(convnet, config())
    assert [len(g["params"]) for g in wrapper.optimizer.param_groups] == [8]
    assert wrapper.layout == [[name for name, _ in convnet.named_parameters()]]
    assert wrapper.get_lr() == {"lr": [LR]}


class Wrapped(nn.Module):
    """Gives a model a loss, and leaves the names of its parameters alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, nn.Linear(1, 1)

    def named_modules(self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True) -> Any:
        for name, module in super().named_modules(memo, prefix, remove_duplicate):
            yield name.removeprefix("model").removeprefix("."), module


@pytest.mark.parametrize(("match", "key"), [("glob", "stem.*"), ("regex", "^stem"), ("exact", "stem")])
def test_names_are_those_that_the_model_gives_its_parameters(convnet: nn.Module, match: str, key: str) -> None:
    model = Wrapped(convnet)
    rules = {"match": match, "strict": True, "custom_keys": {key: {"lr_mult": 0.5}}}
    got = rates(model, build_optim_wrapper(model, config(rules)))
    assert {name for name, (rate, _) in got.items() if rate == LR * 0.5} == {"stem.weight", "stem.bias"}
    assert "loss.bias" in got


def test_each_rule_reaches_its_parameters(convnet: nn.Module) -> None:
    rules = {"norm_decay_mult": 0.0, "bias_lr_mult": 2.0, "bias_decay_mult": 0.5, "dwconv_decay_mult": 0.1}
    assert rates(convnet, build_optim_wrapper(convnet, config(rules))) == {
        "stem.weight": (LR, DECAY),
        "stem.bias": (LR * 2, DECAY * 0.5),
        "norm.weight": (LR, 0.0),
        "norm.bias": (LR, 0.0),
        "depthwise.weight": (LR, DECAY * 0.1),
        "depthwise.bias": (LR * 2, DECAY * 0.5),
        "head.weight": (LR, DECAY),
        "head.bias": (LR * 2, DECAY * 0.5),
    }
    flat = rates(convnet, build_optim_wrapper(convnet, config({"flat_decay_mult": 0.0})))
    assert {name for name, (_, decay) in flat.items() if decay == 0} == {
        name for name, p in convnet.named_parameters() if p.ndim == 1
    }


def test_groups_are_as_few_as_settings_and_named(convnet: nn.Module) -> None:
    rules = {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}}
    wrapper = build_optim_wrapper(convnet, config(rules))
    groups = wrapper.optimizer.param_groups
    assert [(g["name"], len(g["params"])) for g in groups] == [("base", 4), ("no_decay", 2), ("lr_x10", 2)]
    assert len(wrapper.layout or []) == 8
    assert wrapper.get_lr() == {"base_lr": [LR], "lr": [LR, LR, LR * 10]}
    assert len(build_optim_wrapper(convnet, config({**rules, "fuse": False})).optimizer.param_groups) == 8


def test_the_longest_key_wins_and_switches_the_rules_off(convnet: nn.Module) -> None:
    rules = {"norm_decay_mult": 0.0, "custom_keys": {"norm": {"lr_mult": 0.1}, "norm.weight": {"lr_mult": 0.2}}}
    found = rates(convnet, build_optim_wrapper(convnet, config(rules)))
    assert found["norm.weight"] == (LR * 0.2, DECAY)
    assert found["norm.bias"] == (LR * 0.1, DECAY)


def test_composed_rules_decide_field_by_field(convnet: nn.Module) -> None:
    rules = {
        "compose": True,
        "norm_decay_mult": 0.0,
        "custom_keys": {"norm": {"lr_mult": 0.1}, "norm.weight": {"betas": (0.8, 0.9)}, "weight": {"decay_mult": 0.5}},
    }
    wrapper = build_optim_wrapper(convnet, config(rules))
    found = rates(convnet, wrapper)
    assert found["norm.weight"] == (LR * 0.1, DECAY * 0.5)
    assert found["norm.bias"] == (LR * 0.1, 0.0)
    assert found["stem.weight"] == (LR, DECAY * 0.5)
    special = [g for g in wrapper.optimizer.param_groups if g["betas"] == (0.8, 0.9)]
    assert [len(g["params"]) for g in special] == [1]


@pytest.mark.parametrize(
    ("mode", "key", "expected"),
    [
        ("substring", "norm", {"norm.weight", "norm.bias"}),
        ("glob", "*.bias", {"stem.bias", "norm.bias", "depthwise.bias", "head.bias"}),
        ("glob", "norm", set()),
        ("regex", r"^(stem|head)\.w", {"stem.weight", "head.weight"}),
        ("exact", "head", {"head.weight", "head.bias"}),
        ("exact", "head.weight", {"head.weight"}),
        ("exact", "hea", set()),
    ],
)
def test_match_modes(convnet: nn.Module, mode: str, key: str, expected: set[str]) -> None:
    rules = {"match": mode, "custom_keys": {key: {"lr_mult": 3.0}}}
    found = rates(convnet, build_optim_wrapper(convnet, config(rules)))
    assert {name for name, (lr, _) in found.items() if lr != LR} == expected


def test_a_top_level_parameter_begins_with_a_dot(vit: nn.Module) -> None:
    rules = {"custom_keys": {".cls_token": {"lr_mult": 3.0}, ".head": {"lr_mult": 5.0}}}
    found = rates(vit, build_optim_wrapper(vit, config(rules)))
    assert {name for name, (lr, _) in found.items() if lr != LR} == {"cls_token"}


def test_a_pattern_without_a_match_is_said_once(convnet: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    rules = {"custom_keys": {"depth_wise": {"lr_mult": 3.0}, "norm": {}, "nor": {"lr_mult": 2.0}}}
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        build_optim_wrapper(convnet, config(rules))
    assert len(caplog.records) == 1
    assert "'depth_wise' matches no parameter. Did you mean 'depthwise'?" in caplog.text
    assert "'nor'" not in caplog.text
    with pytest.raises(ValueError, match="Did you mean 'depthwise'"):
        build_optim_wrapper(convnet, config({**rules, "strict": True}))


def test_an_unknown_key_can_be_let_through(convnet: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        build_optim_wrapper(convnet, config({"norm_decay": 0.0, "strict": False}))
    assert "norm_decay is unknown. Did you mean 'norm_decay_mult'" in caplog.text


class Wishes(nn.Module):
    """Names what it wants without weight decay, in both ways that models do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 2)
        self.fc, self.head = nn.Linear(2, 2), nn.Linear(2, 2)

    def no_weight_decay(self) -> set[str]:
        return {"fc.weight"}

    def no_weight_decay_keywords(self) -> set[str]:
        return {"table"}


def test_what_the_model_wants_undecayed_is_honoured_on_request() -> None:
    net = nn.ModuleDict({"inner": Wishes()})

    def undecayed(rules: dict[str, Any], **optimizer: Any) -> set[str]:
        found = rates(net, build_optim_wrapper(net, config(rules, **optimizer)))
        return {name for name, (_, decay) in found.items() if not decay}

    wishes = {"inner.table.weight", "inner.fc.weight"}
    assert undecayed({"bias_lr_mult": 1.0}) == set()
    assert undecayed({"no_weight_decay": True}) == wishes
    assert undecayed({"no_weight_decay": True, "custom_keys": {"fc": {"lr_mult": 2.0}}}) == wishes
    assert undecayed({"no_weight_decay": True, "bias_decay_mult": 0.0}) == wishes | {"inner.fc.bias", "inner.head.bias"}
    for compose in (True, False):
        said = {"no_weight_decay": True, "compose": compose, "custom_keys": {"fc": {"decay_mult": 0.5}}}
        assert undecayed(said) == {"inner.table.weight"}
    cfg = {"optimizer": {"type": "AdamW", "lr": LR}, "paramwise_cfg": {"no_weight_decay": True}}
    groups = build_optim_wrapper(net, cfg).optimizer.param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(2, 0.0), (3, 0.01)]


def test_plain_groups_honour_the_models_wishes_by_default() -> None:
    net = Wishes()
    found = [(g["name"], len(g["params"]), g["weight_decay"]) for g in param_groups(net, LR, DECAY)]
    assert found == [("no_decay", 2, 0.0), ("base", 3, DECAY)]
    assert len(param_groups(net, LR, DECAY, {"no_weight_decay": False})) == 1


def test_a_module_registered_twice_under_one_parent_is_visited_once(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.ModuleDict({"first": nn.Linear(2, 2), "other": nn.LayerNorm(2)})
    net["again"] = net["first"]
    for fuse in (True, False):
        rules = {"norm_decay_mult": 0.0, "fuse": fuse, "custom_keys": {"again": {"lr_mult": 3.0}}}
        wrapper = build_optim_wrapper(net, config(rules))
        assert wrapper.layout == [["first.weight"], ["first.bias"], ["other.weight"], ["other.bias"]]
    assert "'again' matches no parameter" in caplog.text


def test_offsets_of_deformable_convolutions() -> None:
    class DeformConv2d(nn.Conv2d):
        """What mmcv calls it; its offset convolution is a child."""

        __module__ = "mmcv.ops.deform_conv"

        def __init__(self) -> None:
            super().__init__(2, 2, 1)
            self.conv_offset = nn.Conv2d(2, 18, 1)

    net = nn.ModuleDict({"dcn": DeformConv2d(), "plain": nn.ModuleDict({"conv_offset": nn.Conv2d(2, 2, 1)})})
    rules = {"dcn_offset_lr_mult": 0.1, "bias_lr_mult": 2.0, "bias_decay_mult": 0.0, "flat_decay_mult": 0.5}
    assert rates(net, build_optim_wrapper(net, config(rules))) == {
        "dcn.weight": (LR, DECAY),
        "dcn.bias": (LR * 2, 0.0),
        "dcn.conv_offset.weight": (LR * 0.1, DECAY),
        "dcn.conv_offset.bias": (LR * 0.1, DECAY),
        "plain.conv_offset.weight": (LR, DECAY),
        "plain.conv_offset.bias": (LR * 2, 0.0),
    }


def test_other_settings_in_a_checkpoint_are_kept_and_said(convnet: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    state = build_optim_wrapper(convnet, config(weight_decay=0.2)).state_dict()
    wrapper = build_optim_wrapper(convnet, config())
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        wrapper.load_state_dict(state)
    assert wrapper.optimizer.param_groups[0]["weight_decay"] == 0.2
    assert [record.message for record in caplog.records] == [
        "optimizer state: weight_decay is 0.05 in the config and 0.2 in the checkpoint, whose value is kept"
    ]


def test_extra_options_of_a_key_go_into_its_group(convnet: nn.Module) -> None:
    rules = {"custom_keys": {"head": {"lr": 0.5, "eps": 1e-3}, "stem": {"decay_mult": 0.0}}}
    wrapper = build_optim_wrapper(convnet, config(rules))
    assert rates(convnet, wrapper)["head.bias"] == (0.5, DECAY)
    assert [g["eps"] for g in wrapper.optimizer.param_groups] == [1e-8, 1e-8, 1e-3]
    unfused = build_optim_wrapper(convnet, config({**rules, "fuse": False})).optimizer.param_groups
    assert unfused[0]["decay_mult"] == 0.0


def test_frozen_parameters_are_left_out(convnet: nn.Module) -> None:
    convnet.stem.requires_grad_(False)
    found = rates(convnet, build_optim_wrapper(convnet, config({"norm_decay_mult": 0.0})))
    assert set(found) == {name for name, _ in convnet.named_parameters()} - {"stem.weight", "stem.bias"}


def test_forced_rules_run_after_custom_keys_and_keep_frozen_parameters(convnet: nn.Module) -> None:
    convnet.stem.weight.requires_grad_(False)
    rules = {"bias_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}}
    cfg = {**config({**rules, "force_default_settings": True}), "constructor": ForceDefaultOptimWrapperConstructor}
    found = rates(convnet, build_optim_wrapper(convnet, cfg))
    assert found["head.bias"] == (LR * 10, 0.0)
    assert found["stem.weight"] == (LR, DECAY)
    cfg["paramwise_cfg"]["force_default_settings"] = False
    assert rates(convnet, build_optim_wrapper(convnet, cfg))["head.bias"] == (LR * 10, DECAY)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 2)
        self.decoder = nn.Linear(2, 2)
        self.decoder.weight = self.encoder.weight


def test_a_shared_parameter_is_refused_or_taken_once() -> None:
    net = Shared()
    with pytest.raises(ValueError, match=r"decoder\.weight and encoder\.weight.*bypass_duplicate=True"):
        build_optim_wrapper(net, config({"norm_decay_mult": 0.0}))
    rules = {"bypass_duplicate": True, "custom_keys": {"decoder": {"lr_mult": 2.0}}}
    assert set(rates(net, build_optim_wrapper(net, config(rules)))) == {
        "encoder.weight",
        "encoder.bias",
        "decoder.bias",
    }
    assert len(rates(net, build_optim_wrapper(net, config()))) == 3
    assert sum(len(group["params"]) for group in param_groups(net, 0.1, 0.0, {"bias_decay_mult": 0.0})) == 3


def test_wrapped_models_keep_their_names(convnet: nn.Module) -> None:
    rules = {"custom_keys": {"stem": {"lr_mult": 3.0}}}
    for model in (nn.DataParallel(convnet), torch.compile(convnet, backend="eager")):
        wrapper = build_optim_wrapper(model, config(rules))  # type: ignore[arg-type]
        assert rates(convnet, wrapper)["stem.weight"] == (LR * 3, DECAY)


def test_users_may_override_add_params_or_call(convnet: nn.Module) -> None:
    class HalfRate(DefaultOptimWrapperConstructor):
        def add_params(self, params: Any, module: Any, prefix: str = "", is_dcn_module: Any = None) -> None:
            before = len(params)
            super().add_params(params, module, prefix, is_dcn_module)
            if prefix == "head":
                for group in params[before:]:
                    group["lr"] = self.base_lr * self.paramwise_cfg["my_own_key"]

    class Amp(DefaultOptimWrapperConstructor):
        def __call__(self, model: nn.Module) -> OptimWrapper:
            return AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=self.base_lr))

    cfg = config({"my_own_key": 0.5, "norm_decay_mult": 0.0}) | {"constructor": HalfRate}
    assert rates(convnet, build_optim_wrapper(convnet, cfg))["head.bias"] == (LR / 2, DECAY)
    wrapper = build_optim_wrapper(convnet, config() | {"constructor": Amp})
    assert isinstance(wrapper, AmpOptimWrapper)
    assert wrapper.get_lr() == {"lr": [LR]}


@pytest.mark.parametrize(
    ("kind", "implementation"),
    [(kind, how) for kind in ("SGD", "AdamW", "Adam", "RMSprop") for how in ("plain", "foreach", "fused")][:-1],
)
def test_fused_groups_update_as_one_group_per_tensor_does(kind: str, implementation: str, convnet: nn.Module) -> None:
    rules = {"norm_decay_mult": 0.0, "bias_lr_mult": 2.0, "custom_keys": {"head": {"lr_mult": 10.0}}}
    nets = [convnet, copy.deepcopy(convnet)]
    wrappers = [
        build_optim_wrapper(net, config({**rules, "fuse": fuse}, type=kind) | {"implementation": implementation})
        for net, fuse in zip(nets, (True, False), strict=True)
    ]
    for seed in range(4):
        images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        for net, wrapper in zip(nets, wrappers, strict=True):
            wrapper.update_params(net(images).square().mean())
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    states = [wrapper.state_dict() for wrapper in wrappers]
    assert list(states[0]["state"]) == list(states[1]["state"])
    for fused, single in ((0, 1), (1, 0)):
        wrappers[fused].load_state_dict(copy.deepcopy(states[single]))
        again = wrappers[fused].state_dict()
        for index, values in states[single]["state"].items():
            for key, value in values.items():
                assert again["state"][index][key] is value or torch.equal(again["state"][index][key], value)
        assert [g["lr"] for g in again["param_groups"]] == [g["lr"] for g in states[single]["param_groups"]]


def test_a_state_with_other_settings_inside_a_group_is_reported(
    convnet: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    wrapper = build_optim_wrapper(convnet, config({"norm_decay_mult": 0.0}))
    state = wrapper.state_dict()
    state["param_groups"][1]["lr"] = 0.5
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        wrapper.load_state_dict(state)
    assert "lr: 0.01 and 0.5 in one group" in caplog.text


@pytest.mark.parametrize(
    ("cfg", "error", "words"),
    [
        ([], TypeError, "optim_wrapper is a list"),
        ({"type": "OptimWrapper"}, ValueError, "optim_wrapper has no 'optimizer'"),
        ({"optimizer": "SGD"}, TypeError, "optim_wrapper.optimizer is a str"),
        ({"optimizer": {"lr": 0.1}}, TypeError, "optim_wrapper.optimizer.type is None"),
        ({"optimizer": {"type": "SDG", "lr": 0.1}}, KeyError, r"optimizer\.type='SDG'.*Did you mean 'SGD'\?"),
        ({"optimizer": {"type": "adamw", "lr": 0.1}}, KeyError, "Did you mean 'AdamW'"),
        ({"optimizer": {"type": 3, "lr": 0.1}}, TypeError, "optimizer.type is 3, a name or a class"),
        ({"type": 3, "optimizer": {"type": "SGD", "lr": 0.1}}, TypeError, "optim_wrapper.type is 3"),
        ({"constructor": 3, "optimizer": {"type": "SGD", "lr": 0.1}}, TypeError, "optim_wrapper.constructor is 3"),
        (config(weigth_decay=0.1), TypeError, "AdamW has no argument 'weigth_decay'. Did you mean 'weight_decay'"),
        (config(betas=(0.9, 1.0)), ValueError, r"wrapper\.optimizer: AdamW\(.*betas=\(0\.9, 1\.0\).*is refused"),
        (config(betas=(0.9,)), ValueError, r"optimizer\.betas=\(0\.9,\) has 1 numbers, 2 are needed, such as"),
        (config(lr=None), TypeError, "optim_wrapper.optimizer.lr is None"),
        (config(type=lambda params, **_: None), TypeError, "gives a NoneType"),
        (config() | {"accumulative_count": 2}, TypeError, "Did you mean 'accumulative_counts'"),
        (config() | {"type": "AmpOptimWrapper", "los_scale": 2}, TypeError, "Did you mean 'loss_scale'"),
        ({"type": "AmpOptimWraper", "optimizer": {"type": "SGD", "lr": 0.1}}, KeyError, "'AmpOptimWrapper'"),
        ({"constructor": "Default", "optimizer": {"type": "SGD", "lr": 0.1}}, KeyError, "constructor"),
        ({"optimizer": {"type": "SGD", "lr": -1.0}}, ValueError, r"optim_wrapper\.optimizer\.lr=-1\.0"),
        ({"optimizer": {"type": "SGD", "lr": float("nan")}}, ValueError, "finite"),
        ({"optimizer": {"type": "SGD", "lr": "0.1"}}, TypeError, "optimizer.lr='0.1'"),
        ({"optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": -0.1}}, ValueError, "weight_decay=-0.1"),
        (config([]), TypeError, "paramwise_cfg is a list"),
        (config({"norm_decay": 0.0}), ValueError, r"Did you mean 'norm_decay_mult'"),
        (config({"norm_decay_mult": "0"}), TypeError, "norm_decay_mult='0'"),
        (config({"norm_decay_mult": float("nan")}), ValueError, "norm_decay_mult=nan"),
        (config({"custom_keys": ["norm"]}), TypeError, "custom_keys is a list"),
        (config({"custom_keys": {"norm": 0.1}}), TypeError, r"custom_keys\['norm'\] is a float"),
        (config({"custom_keys": {"norm": {"lr_mult": -1}}}), ValueError, r"\['norm'\].lr_mult=-1"),
        (config({"match": "regex", "custom_keys": {"(": {}}}), ValueError, "not a regular expression"),
        (config({"strict": True, "custom_keys": {"norm": {"lr_mlt": 1}}}), ValueError, "Did you mean 'lr_mult'"),
        (config({"custom_keys": {3: {}}}), TypeError, "custom_keys has the key 3"),
        (config({"custom_keys": {"norm": {"lr": -1.0}}}), ValueError, r"\['norm'\]\.lr=-1\.0"),
        (config({"custom_keys": {"norm": {"weight_decay": "0"}}}), TypeError, r"\['norm'\]\.weight_decay='0'"),
        (config({"custom_keys": {"norm": {"params": 1}}}), ValueError, r"\['norm'\]\.params"),
        (config({"compose": "no"}), TypeError, "compose='no' is a str, True or False"),
        (config({"match": "fuzzy", "custom_keys": {}}), ValueError, "substring, glob, regex, exact"),
        (config({"norm_decay_mult": 0.0}) | {"implementation": "quick"}, ValueError, "auto, fused"),
        (
            {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"norm_decay_mult": 0.0}},
            ValueError,
            "optim_wrapper.optimizer has none",
        ),
        (
            {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"custom_keys": {"a": {"decay_mult": 0.0}}}},
            ValueError,
            "optim_wrapper.optimizer has none",
        ),
        (
            {"optimizer": {"type": "SGD"}, "paramwise_cfg": {"bias_lr_mult": 2.0}},
            ValueError,
            "bias_lr_mult multiplies lr, but optim_wrapper.optimizer has no lr",
        ),
    ],
)
def test_bad_configs_are_named_by_their_path(convnet: nn.Module, cfg: Any, error: type[Exception], words: str) -> None:
    before = copy.deepcopy(cfg)
    with pytest.raises(error, match=words):
        build_optim_wrapper(convnet, cfg)
    assert str(cfg) == str(before)


def test_a_ready_optimizer_is_only_wrapped(convnet: nn.Module) -> None:
    optimizer = torch.optim.SGD(convnet.parameters(), lr=0.1)
    wrapper = build_optim_wrapper(convnet, {"type": "OptimWrapper", "optimizer": optimizer, "accumulative_counts": 2})
    assert wrapper.optimizer is optimizer
    with pytest.raises(ValueError, match="paramwise_cfg cannot change the groups of an optimizer object"):
        build_optim_wrapper(convnet, {"optimizer": optimizer, "paramwise_cfg": {"norm_decay_mult": 0.0}})


def test_models_without_anything_to_train() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        build_optim_wrapper(nn.ReLU(), config())
    net = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="all 2 parameters of Linear are frozen"):
        build_optim_wrapper(net, config())
    with pytest.raises(TypeError, match="not a torch"):
        build_optim_wrapper([], config())  # type: ignore[arg-type]


def test_flat_decay_without_a_decay_is_said(convnet: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    cfg = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"flat_decay_mult": 0.0}}
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        build_optim_wrapper(convnet, cfg)
    assert "flat_decay_mult has no effect" in caplog.text


def test_the_config_is_not_changed(convnet: nn.Module) -> None:
    cfg = config({"custom_keys": {"head": {"lr_mult": 2.0}}}) | {"type": "OptimWrapper", "clip_grad": {"max_norm": 1}}
    before = copy.deepcopy(cfg)
    build_optim_wrapper(convnet, cfg)
    assert cfg == before


def test_plain_groups_are_ready_for_any_optimizer(convnet: nn.Module) -> None:
    groups = param_groups(convnet, LR, DECAY, {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}})
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("base", LR, DECAY),
        ("no_decay", LR, 0.0),
        ("lr_x10", LR * 10, DECAY),
    ]
    torch.optim.AdamW(groups)
    assert [g["name"] for g in param_groups(convnet, LR, DECAY)] == ["base"]


# -- random module trees -------------------------------------------------------------------------------------------

LEAVES = {
    "conv": lambda: nn.Conv2d(2, 4, 1),
    "depthwise": lambda: nn.Conv2d(2, 2, 1, groups=2),
    "linear": lambda: nn.Linear(2, 2),
    "norm": lambda: nn.LayerNorm(2),
    "batch": lambda: nn.BatchNorm2d(2, affine=True),
    "act": lambda: nn.ReLU(),
}
NAMES = st.sampled_from(["head", "norm", "layer", "stem", "a", "b"])
TREES = st.recursive(
    st.sampled_from(sorted(LEAVES)), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=4), max_leaves=12
)
MULTS = st.sampled_from([0.0, 0.1, 1.0, 2.0])
KEYS = st.dictionaries(
    st.sampled_from(["head", "norm", "a", "layer.head", "weight", "zzz"]),
    st.fixed_dictionaries({}, optional={"lr_mult": MULTS, "decay_mult": MULTS}),
    max_size=4,
)
RULES = st.fixed_dictionaries(
    {"custom_keys": KEYS},
    optional={
        "norm_decay_mult": MULTS,
        "bias_lr_mult": MULTS,
        "bias_decay_mult": MULTS,
        "dwconv_decay_mult": MULTS,
        "flat_decay_mult": MULTS,
    },
)


def grown(tree: Any) -> nn.Module:
    if isinstance(tree, str):
        return LEAVES[tree]()
    return nn.ModuleDict({name: grown(inner) for name, inner in tree.items()})


def expected(name: str, model: nn.Module, rules: dict[str, Any]) -> tuple[float, float]:
    """The rules once more, written down differently: from the table of the reference."""
    prefix, _, local = name.rpartition(".")
    module = model.get_submodule(prefix)
    keys = [key for key in rules["custom_keys"] if key in f"{prefix}.{local}"]
    if keys:
        options = rules["custom_keys"][min(keys, key=lambda key: (-len(key), key))]
        return LR * options.get("lr_mult", 1), DECAY * options.get("decay_mult", 1)
    norm = isinstance(module, nn.LayerNorm | nn.BatchNorm2d)
    depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels
    lr = LR * rules.get("bias_lr_mult", 1) if local == "bias" and not norm else LR
    tests = {
        "norm_decay_mult": norm,
        "bias_decay_mult": local == "bias",
        "dwconv_decay_mult": depthwise,
        "flat_decay_mult": module.get_parameter(local).ndim == 1,
    }
    decay = next((rules[key] for key, applies in tests.items() if applies and key in rules), 1)
    return lr, DECAY * decay


@given(TREES, RULES, st.data())
def test_every_trainable_parameter_lands_in_one_group_with_the_rules_values(
    tree: Any, rules: dict[str, Any], data: st.DataObject
) -> None:
    model = grown({"model": tree})
    names = [name for name, _ in model.named_parameters()]
    if not names:
        return
    frozen = data.draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    wrapper = build_optim_wrapper(model, config(rules))
    assert rates(model, wrapper) == {name: expected(name, model, rules) for name in names if name not in frozen}
    settings = [(g["lr"], g["weight_decay"]) for g in wrapper.optimizer.param_groups]
    assert len(settings) == len(set(settings))


@given(TREES, RULES)
def test_states_survive_the_way_through_the_other_layout(tree: Any, rules: dict[str, Any]) -> None:
    model = grown({"model": tree})
    if not any(True for _ in model.parameters()):
        return
    optimizer = {"type": "SGD", "momentum": 0.9}
    fused, single = (build_optim_wrapper(model, config({**rules, "fuse": f}, **optimizer)) for f in (True, False))
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(number + 1))
    fused.step()
    expected = {id(p): state["momentum_buffer"].clone() for p, state in fused.optimizer.state.items()}
    single.load_state_dict(copy.deepcopy(fused.state_dict()))
    fused.optimizer.state.clear()
    fused.load_state_dict(copy.deepcopy(single.state_dict()))
    for wrapper in (fused, single):
        found = {id(p): state["momentum_buffer"] for p, state in wrapper.optimizer.state.items()}
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
