"""Layer decay: the constructors of MMSegmentation, plain functions, naming schemes, bad input."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_optim import build_optim_wrapper, layer_decay_param_groups
from seg_optim.groups.depth import read_depths
from seg_optim.groups.layer_ids import (
    Depths,
    convnext_layer_wise,
    convnext_stage_wise,
    from_function,
    from_matcher,
    layer_count,
    vit_layer_wise,
)
from torch import nn

OPTIONS: dict[str, Any] = {"lr": 1.0, "weight_decay": 0.05, "decay_rate": 0.5}


def named(*names: str) -> nn.Module:
    """A model with exactly these parameter names, one element each (two-dimensional unless it is a bias or norm)."""
    root = nn.Module()
    for name in names:
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        flat = last == "bias" or "norm" in name
        module.register_parameter(last, nn.Parameter(torch.zeros([1] if flat else [1, 1])))
    return root


def held(backbone: str, *names: str) -> nn.Module:
    """A segmentor whose `backbone` is of a class with this name."""
    model = named(*[f"backbone.{name}" for name in names], "decode_head.conv_seg.weight", "decode_head.conv_seg.bias")
    model.backbone.__class__ = type(backbone, (nn.Module,), {})
    return model


def scales(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, float]:
    where = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {name: where[id(p)] for name, p in model.named_parameters() if id(p) in where}


def built(model: nn.Module, constructor: str, **paramwise: Any) -> Any:
    cfg = {
        "optimizer": {"type": "AdamW", "lr": 1.0, "weight_decay": 0.05},
        "constructor": constructor,
        "paramwise_cfg": paramwise,
    }
    return build_optim_wrapper(model, cfg)


BEIT = ["cls_token", "pos_embed", "patch_embed.weight", *[f"layers.{i}.w.weight" for i in range(12)], "norm1.weight"]
CONVNEXT = [
    *[f"downsample_layers.{i}.0.weight" for i in range(4)],
    *[f"stages.{s}.{b}.weight" for s, depth in enumerate((3, 3, 27, 3)) for b in range(depth)],
    "norm3.weight",
]


def test_beit_gets_the_scales_of_mmsegmentation() -> None:
    model = held("BEiT", *BEIT)
    wrapper = built(model, "LayerDecayOptimizerConstructor", num_layers=12, layer_decay_rate=0.9)
    found = scales(model, wrapper.optimizer.param_groups)
    assert found["backbone.cls_token"] == found["backbone.patch_embed.weight"] == pytest.approx(0.254187, rel=1e-5)
    assert [found[f"backbone.layers.{i}.w.weight"] for i in range(12)] == [0.9 ** (12 - i) for i in range(12)]
    assert found["backbone.norm1.weight"] == found["decode_head.conv_seg.bias"] == 1.0
    assert [g["name"] for g in wrapper.optimizer.param_groups][:2] == ["layer_0_decay", "layer_1_decay"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(12, [0.254187, 0.282430, 0.313811, 0.348678, 0.387420]), (6, [0.478297, 0.531441, 0.590490, 0.656100, 0.729])],
)
def test_convnext_stage_wise_keeps_the_references_offset(layers: int, expected: list[float]) -> None:
    model = held("ConvNeXt", *CONVNEXT)
    paramwise = {"decay_rate": 0.9, "decay_type": "stage_wise", "num_layers": layers}
    groups = built(model, "LearningRateDecayOptimizerConstructor", **paramwise).optimizer.param_groups
    found = scales(model, groups)
    assert found["backbone.downsample_layers.3.0.weight"] == pytest.approx(expected[0], rel=1e-5)
    for stage in range(4):
        assert found[f"backbone.stages.{stage}.0.weight"] == pytest.approx(expected[stage + 1], rel=1e-5)
    auto = built(model, "LearningRateDecayOptimizerConstructor", **{**paramwise, "num_layers": "auto"})
    assert scales(model, auto.optimizer.param_groups)["backbone.stages.3.0.weight"] == 0.9


def test_convnext_layer_wise_takes_three_blocks_of_the_third_stage_at_a_time() -> None:
    model = held("ConvNeXt", *CONVNEXT)
    paramwise = {"decay_rate": 0.9, "decay_type": "layer_wise", "num_layers": 12}
    found = scales(model, built(model, "LearningRateDecayOptimizerConstructor", **paramwise).optimizer.param_groups)
    ids = [convnext_layer_wise(f"backbone.stages.2.{block}.weight", 12) for block in range(27)]
    assert ids == [3 + block // 3 for block in range(27)]
    assert found["backbone.stages.3.0.weight"] == pytest.approx(0.9)
    assert found["backbone.downsample_layers.1.0.weight"] == 0.9**11


def test_pure_ids() -> None:
    assert vit_layer_wise("backbone.layers.4.attn.qkv.weight") == 5
    assert vit_layer_wise("backbone.pos_embed") == vit_layer_wise("backbone.patch_embed.projection.weight") == 0
    assert vit_layer_wise("decode_head.conv.weight") is None
    assert convnext_stage_wise("backbone.mask_token") == convnext_stage_wise("backbone.downsample_layers.3.0.bias") == 0
    assert convnext_stage_wise("backbone.stages.3.1.gamma") == 4
    assert convnext_stage_wise("backbone.norm2.weight") is None
    assert convnext_layer_wise("backbone.norm2.weight", 12) is None
    assert [convnext_layer_wise(f"backbone.downsample_layers.{i}.0.bias", 12) for i in range(4)] == [0, 2, 3, 12]
    assert convnext_layer_wise("backbone.cls_token", 12) == 0


@pytest.mark.parametrize(("third", "layers"), [(1, 4), (3, 4), (4, 5), (9, 6), (27, 12)])
def test_the_layers_of_a_convnext_are_counted_where_they_are_not_given(third: int, layers: int) -> None:
    model = held("ConvNeXt", *[name for name in CONVNEXT if name not in CONVNEXT[10 + third : 10 + 27]])
    paramwise = {"decay_rate": 0.5, "decay_type": "layer_wise"}
    wrappers = [
        built(model, "LearningRateDecayOptimizerConstructor", **paramwise, num_layers=each) for each in ("auto", layers)
    ]
    auto, told = (scales(model, wrapper.optimizer.param_groups) for wrapper in wrappers)
    assert auto == told
    assert auto["backbone.stages.3.0.weight"] == 0.5
    assert auto[f"backbone.stages.2.{third - 1}.weight"] == 0.25


def test_the_older_name_always_goes_by_layer() -> None:
    model = held("ConvNeXt", *CONVNEXT)
    old = {"num_layers": 12, "layer_decay_rate": 0.9, "decay_type": "stage_wise"}
    new = {"num_layers": 12, "decay_rate": 0.9, "decay_type": "layer_wise"}
    found = [
        scales(model, built(model, constructor, **paramwise).optimizer.param_groups)
        for constructor, paramwise in (
            ("LayerDecayOptimizerConstructor", old),
            ("LayerDecayOptimizerConstructor", {**new, "decay_type": "stage_wise"}),
            ("LearningRateDecayOptimizerConstructor", new),
        )
    ]
    assert found[0] == found[1] == found[2]


TIMM_BEIT = ["cls_token", "patch_embed.weight", *[f"blocks.{i}.weight" for i in range(3)], "norm.weight"]
TIMM_CONVNEXT = ["stem.0.weight", *[f"stages.{s}.blocks.0.weight" for s in range(4)]]
STEM_VIT = ["stem.0.weight", "pos_embed", *[f"layers.{i}.weight" for i in range(3)]]
SMALL_MIT = ["layers.0.0.weight", *[f"layers.{s}.1.0.weight" for s in range(4)]]


@pytest.mark.parametrize(
    ("backbone", "names", "deep", "expected"),
    [
        ("BEiT", TIMM_BEIT, "blocks.1.weight", 0.25),
        ("ConvNeXtV2", TIMM_CONVNEXT, "stages.2.blocks.0.weight", 0.25),
        ("MyNet", CONVNEXT, "stages.2.26.weight", 0.5**4),
        ("ConvStemViT", STEM_VIT, "layers.1.weight", 0.25),
        ("MixVisionTransformer", SMALL_MIT, "layers.2.1.0.weight", 0.25),
    ],
)
def test_other_names_than_the_references_are_read_by_their_scheme(
    backbone: str, names: list[str], deep: str, expected: float
) -> None:
    model = held(backbone, *names)
    wrapper = built(model, "LearningRateDecayOptimizerConstructor", num_layers="auto", decay_rate=0.5)
    assert scales(model, wrapper.optimizer.param_groups)[f"backbone.{deep}"] == expected


@pytest.mark.parametrize("backbone", ["BEiT", "MAE", "MyBEiTAdapter"])
def test_what_the_reference_does_not_know_learns_like_the_head(backbone: str) -> None:
    model = held(backbone, *BEIT, "adapter.weight")
    wrapper = built(model, "LearningRateDecayOptimizerConstructor", num_layers=12, decay_rate=0.5)
    found = scales(model, wrapper.optimizer.param_groups)
    assert (found["backbone.adapter.weight"], found["backbone.layers.11.w.weight"]) == (1.0, 0.5)


def test_a_beit_by_stage_is_read_by_its_scheme() -> None:
    model = held("BEiT", *BEIT)
    wrapper = built(
        model, "LearningRateDecayOptimizerConstructor", num_layers="auto", decay_rate=0.5, decay_type="stage_wise"
    )
    assert set(scales(model, wrapper.optimizer.param_groups).values()) == {0.25, 0.5, 1.0}


def test_your_own_depths_in_a_config_come_before_the_references() -> None:
    model = held("BEiT", *BEIT)
    paramwise = {"num_layers": 1, "decay_rate": 0.5, "layer_ids": lambda name: None if "head" in name else 1}
    found = scales(model, built(model, "LearningRateDecayOptimizerConstructor", **paramwise).optimizer.param_groups)
    assert {name: scale for name, scale in found.items() if scale != 0.5} == {
        "decode_head.conv_seg.weight": 1.0,
        "decode_head.conv_seg.bias": 1.0,
    }


def test_the_entries_of_a_group_are_the_references_unless_fused() -> None:
    model = held("BEiT", *BEIT)
    paramwise = {"num_layers": 12, "decay_rate": 0.5}
    extra = {"lr_scale", "param_names", "group_name"}
    for group in built(model, "LearningRateDecayOptimizerConstructor", **paramwise).optimizer.param_groups:
        assert not extra & group.keys()
    groups = built(model, "LearningRateDecayOptimizerConstructor", **paramwise, fuse=False).optimizer.param_groups
    assert [(g["group_name"], g["lr_scale"], g["lr"], g["weight_decay"], len(g["param_names"])) for g in groups] == [
        ("layer_0_decay", 0.5**13, 0.5**13, 0.05, 3),
        *[(f"layer_{i}_decay", 0.5 ** (13 - i), 0.5 ** (13 - i), 0.05, 1) for i in range(1, 13)],
        ("layer_13_no_decay", 1.0, 1.0, 0.0, 2),
        ("layer_13_decay", 1.0, 1.0, 0.05, 1),
    ]


def test_names_of_groups_tell_what_the_rules_multiply(vit: nn.Module) -> None:
    rules = {"head": {"lr_mult": 10.0}, "blocks.1.fc": {"decay_mult": 0.5, "lr_mult": 2.0}, "blocks.2": {"lr_mult": 1}}
    paramwise = {"decay_rate": 0.5, "num_layers": 3, "compose": True, "custom_keys": rules}
    wrapper = built(vit, "LearningRateDecayOptimizerConstructor", **paramwise)
    found = {(g["name"], g["lr"], g["weight_decay"]) for g in wrapper.optimizer.param_groups}
    assert found >= {
        ("layer_4_decay_lr_x10", 10.0, 0.05),
        ("layer_4_no_decay_lr_x10", 10.0, 0.0),
        ("layer_2_decay_x0.5_lr_x2", 0.5, 0.025),
        ("layer_3_decay", 0.5, 0.05),
        ("layer_3_no_decay", 0.5, 0.0),
    }
    assert all("lr_mult" not in group and "decay_mult" not in group for group in wrapper.optimizer.param_groups)


def test_rules_that_say_nothing_are_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    paramwise = {"num_layers": 12, "decay_rate": 1, "custom_keys": None, "bias_lr_mult": None}
    built(held("BEiT", *BEIT), "LearningRateDecayOptimizerConstructor", **paramwise)
    assert not caplog.text


def test_tokens_are_decayed_as_in_the_reference_unless_skipped() -> None:
    model = held("MAE", *BEIT)
    cls_token = model.backbone.cls_token
    for skip, decay in ((False, 0.05), (True, 0.0)):
        wrapper = built(
            model, "LearningRateDecayOptimizerConstructor", num_layers=12, decay_rate=0.65, skip_tokens=skip
        )
        group = next(g for g in wrapper.optimizer.param_groups if any(p is cls_token for p in g["params"]))
        assert group["weight_decay"] == decay


def test_one_dimensional_parameters_and_biases_are_not_decayed() -> None:
    model = held("BEiT", *BEIT)
    wrapper = built(model, "LayerDecayOptimizerConstructor", num_layers=12, layer_decay_rate=0.9)
    for group in wrapper.optimizer.param_groups:
        assert all((p.ndim <= 1) == (group["weight_decay"] == 0.0) for p in group["params"])


def decays(wrapper: Any, model: nn.Module) -> dict[str, float]:
    where = {id(p): group["weight_decay"] for group in wrapper.optimizer.param_groups for p in group["params"]}
    return {name: where[id(p)] for name, p in model.named_parameters()}


def test_the_constructors_honour_the_models_wishes_on_request(vit: nn.Module) -> None:
    vit.no_weight_decay = lambda: {"pos_embed"}  # type: ignore[assignment]
    for honoured in (True, False):
        paramwise = {"decay_rate": 0.5, "num_layers": 3, "no_weight_decay": honoured}
        found = decays(built(vit, "LearningRateDecayOptimizerConstructor", **paramwise), vit)
        assert found["pos_embed"] == (0.0 if honoured else 0.05)
        assert found["cls_token"] == 0.05


def test_rules_act_with_layer_decay_when_composed(vit: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    rules = {
        "decay_rate": 0.5,
        "num_layers": 3,
        "bias_decay_mult": 1.0,
        "custom_keys": {
            "head": {"lr_mult": 10.0},
            "blocks.1.fc": {"decay_mult": 0.5, "betas": (0.8, 0.9)},
            "pos_embed": {"decay_mult": 0.0},
        },
    }
    alone = built(vit, "LearningRateDecayOptimizerConstructor", decay_rate=0.5, num_layers=3)
    ignored = built(vit, "LearningRateDecayOptimizerConstructor", **rules)
    assert scales(vit, ignored.optimizer.param_groups) == scales(vit, alone.optimizer.param_groups)
    assert "ignores custom_keys, bias_decay_mult: set compose=True" in caplog.text
    wrapper = built(vit, "LearningRateDecayOptimizerConstructor", compose=True, **rules)
    groups, found = wrapper.optimizer.param_groups, decays(wrapper, vit)
    expected = scales(vit, alone.optimizer.param_groups) | {"head.weight": 10.0, "head.bias": 10.0}
    assert scales(vit, groups) == expected
    names = ("blocks.1.fc.weight", "blocks.1.fc.bias", "blocks.0.fc.bias", "blocks.0.norm1.weight", "pos_embed")
    assert [found[name] for name in names] == [0.025, 0.025, 0.05, 0.0, 0.0]
    special = [g for g in groups if g["betas"] == (0.8, 0.9)]
    assert [(g["name"], len(g["params"])) for g in special] == [("layer_2_decay_x0.5", 2)]
    with pytest.raises(ValueError, match=r"'hed' matches no parameter\. Did you mean 'head'"):
        built(vit, "LearningRateDecayOptimizerConstructor", decay_rate=0.5, num_layers=3, compose=True, strict=True,
              custom_keys={"hed": {"lr_mult": 2.0}})  # fmt: skip


def test_the_head_and_the_floor_in_a_config(vit: nn.Module) -> None:
    paramwise = {"decay_rate": 0.5, "num_layers": 3, "head": 10.0, "min_scale": 0.2}
    wrapper = built(vit, "LearningRateDecayOptimizerConstructor", **paramwise)
    found = scales(vit, wrapper.optimizer.param_groups)
    assert (found["head.weight"], found["blocks.2.fc.weight"], found["patch_embed.weight"]) == (10.0, 0.5, 0.2)


SWIN = [
    "patch_embed.weight",
    *[f"stages.{s}.blocks.{b}.w.weight" for s in range(4) for b in range(2)],
    *[f"stages.{s}.downsample.weight" for s in range(3)],
    "norm3.weight",
]
MIT = [
    name
    for s in range(4)
    for name in (f"layers.{s}.0.weight", f"layers.{s}.1.0.weight", f"layers.{s}.1.1.weight", f"layers.{s}.2.norm")
]
RESNET = ["stem.0.weight", *[f"layer{s}.{b}.conv1.weight" for s in (1, 2, 3, 4) for b in range(2)]]
ORIGINAL_MIT = [
    name
    for s in (1, 2, 3, 4)
    for name in (f"patch_embed{s}.weight", f"block{s}.0.weight", f"block{s}.1.weight", f"norm{s}.weight")
]
TV_SWIN = [
    "features.0.0.weight",
    *[f"features.{s}.{b}.weight" for s in (1, 3, 5, 7) for b in range(2)],
    *[f"features.{s}.reduction.weight" for s in (2, 4, 6)],
    "norm.weight",
    "head.weight",
]


@pytest.mark.parametrize(
    ("names", "first_of_third_stage", "leading_in"),
    [
        (SWIN, "stages.2.blocks.0.w.weight", "stages.1.downsample.weight"),
        (MIT, "layers.2.1.0.weight", "layers.2.0.weight"),
        (ORIGINAL_MIT, "block3.0.weight", "patch_embed3.weight"),
        (RESNET, "layer3.0.conv1.weight", "layer3.0.conv1.weight"),
        (TV_SWIN, "features.5.0.weight", "features.4.reduction.weight"),
    ],
    ids=["swin", "mit", "original mit", "resnet", "torchvision swin"],
)
def test_backbones_of_stages(names: list[str], first_of_third_stage: str, leading_in: str) -> None:
    for prefix in ("", "backbone.", "encoder.net."):
        model = named(*[prefix + name for name in names], *(["decode_head.weight"] if prefix else []))
        found = read_depths(model)
        headless = found.last == 8
        assert found.last == 9 or headless
        assert found.ids[prefix + first_of_third_stage] == found.ids[prefix + leading_in] == 5
        assert found.ids[prefix + names[0]] == 0
        stages = read_depths(model, stages=True)
        assert stages.ids[prefix + first_of_third_stage] == stages.ids[prefix + leading_in] == 3


def test_a_given_number_of_layers_stretches_the_distance_to_the_head() -> None:
    model = held("SwinTransformer", *SWIN)
    paramwise = {"decay_rate": 0.5, "decay_type": "layer_wise", "num_layers": 12}
    found = scales(model, built(model, "LearningRateDecayOptimizerConstructor", **paramwise).optimizer.param_groups)
    assert found["backbone.patch_embed.weight"] == 0.5**13
    assert found["backbone.stages.3.blocks.1.w.weight"] == 0.5**5
    with pytest.raises(ValueError, match=r"num_layers=6.*set num_layers=8 or 'auto'"):
        built(model, "LearningRateDecayOptimizerConstructor", **{**paramwise, "num_layers": 6})


def test_the_norm_after_the_last_block(vit: nn.Module) -> None:
    head = scales(vit, layer_decay_param_groups(vit, **OPTIONS))
    block = scales(vit, layer_decay_param_groups(vit, **OPTIONS, final_norm="last_block"))
    assert (head["norm.weight"], block["norm.weight"]) == (1.0, 0.5)
    assert head["blocks.2.fc.weight"] == block["blocks.2.fc.weight"] == 0.5
    assert head["pos_embed"] == 0.5**4


def test_groups_for_torch_and_for_timm(vit: nn.Module) -> None:
    groups = layer_decay_param_groups(vit, **OPTIONS)
    assert all("lr_scale" not in group for group in groups)
    torch.optim.AdamW(groups)
    for group, other in zip(groups, layer_decay_param_groups(vit, **OPTIONS, style="timm"), strict=True):
        assert (other["lr"], other["lr_scale"]) == (1.0, group["lr"])


def test_a_floor_for_scales_and_a_factor_for_the_head(vit: nn.Module) -> None:
    found = scales(vit, layer_decay_param_groups(vit, **OPTIONS, min_scale=0.2, head=10.0))
    assert found["patch_embed.weight"] == found["blocks.0.fc.weight"] == 0.2
    assert found["head.weight"] == 10.0
    assert found["blocks.2.fc.weight"] == 0.5


def test_what_the_model_wants_undecayed(vit: nn.Module) -> None:
    class Wishes(type(vit)):  # type: ignore[misc]
        def no_weight_decay(self) -> set[str]:
            return {"pos_embed"}

        def no_weight_decay_keywords(self) -> set[str]:
            return {"patch_embed"}

    vit.__class__ = Wishes
    holder = nn.ModuleDict({"backbone": vit})
    for honoured in (True, False):
        groups = layer_decay_param_groups(holder, **OPTIONS, no_weight_decay=honoured)
        free = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
        assert (id(vit.pos_embed) in free) is honoured
        assert (id(vit.patch_embed.weight) in free) is honoured
        assert id(vit.cls_token) not in free


def test_frozen_parameters_do_not_move_the_others(vit: nn.Module) -> None:
    before = scales(vit, layer_decay_param_groups(vit, **OPTIONS))
    vit.blocks[0].requires_grad_(False)
    vit.head.requires_grad_(False)
    after = scales(vit, layer_decay_param_groups(vit, **OPTIONS))
    assert after == {name: scale for name, scale in before.items() if not name.startswith(("blocks.0.", "head"))}


def test_your_own_depths(vit: nn.Module) -> None:
    def by_hand(name: str) -> int | None:
        return None if name.startswith("head") else 0

    found = scales(vit, layer_decay_param_groups(vit, **OPTIONS, layer_ids=by_hand))
    assert {found["head.weight"], found["patch_embed.weight"]} == {1.0, 0.5}
    with pytest.raises(ValueError, match="ids count from 0"):
        layer_decay_param_groups(vit, **OPTIONS, layer_ids=lambda name: -1)
    with pytest.raises(ValueError, match=r"num_layers=2.*lies in layer 7"):
        layer_decay_param_groups(vit, **OPTIONS, layer_ids=lambda name: 7, num_layers=2)


def test_a_model_that_knows_its_depths() -> None:
    class Knows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.odd, self.even = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

        def get_layer_id(self, name: str) -> int:
            return int(name.startswith("even"))

    model = nn.ModuleDict({"anything": Knows(), "top": nn.Linear(1, 1, bias=False)})
    found = scales(model, layer_decay_param_groups(model, **OPTIONS))
    assert list(found.values()) == [0.25, 0.5, 1.0]


def vit_at(prefix: str, blocks: int) -> list[str]:
    return [f"{prefix}patch_embed.weight", *[f"{prefix}blocks.{index}.w.weight" for index in range(blocks)]]


def test_of_several_backbones_the_one_of_this_name_counts_else_the_largest() -> None:
    model = named(*vit_at("small.", 2), *vit_at("large.", 4), *vit_at("medium.", 3), "top.weight")
    assert list(read_depths(model).ids.values()) == [5, 5, 5, 0, 1, 2, 3, 4, *[5] * 5]
    model = named(*vit_at("large.", 4), *vit_at("backbone.", 2), "top.weight")
    assert list(read_depths(model).ids.values()) == [*[3] * 5, 0, 1, 2, 3]


def test_blocks_without_a_stem_are_a_backbone_only_by_name() -> None:
    blocks = ["blocks.0.w.weight", "blocks.1.w.weight"]
    assert list(read_depths(named(*[f"backbone.{name}" for name in blocks], "top.weight")).ids.values()) == [1, 2, 3]
    assert list(read_depths(named(*blocks)).ids.values()) == [1, 2]
    with pytest.raises(ValueError, match="cannot be read"):
        read_depths(named(*[f"decoder.{name}" for name in blocks], "thing.weight"))


class Told(nn.Module):
    """Some parameters, whose depths the module tells itself."""

    def __init__(self, count: int, depth: int | None) -> None:
        super().__init__()
        self.parts = nn.ParameterList(torch.zeros(1, 1) for _ in range(count))
        self.depth = depth

    def get_layer_id(self, name: str) -> int | None:
        return self.depth


def test_a_part_that_places_nothing_is_no_backbone() -> None:
    model = nn.ModuleDict({"unsure": Told(9, None), "late": Told(8, 3), "net": named(*vit_at("", 2))})
    found = read_depths(model)
    assert found.last == 3
    assert list(found.ids.values()) == [*[3] * 17, 0, 1, 2]


def test_the_final_norm_of_a_model_with_timms_matcher(vit: nn.Module) -> None:
    class Matched(type(vit)):  # type: ignore[misc]
        def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
            blocks = [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))]
            return {"stem": r"^cls_token|pos_embed|patch_embed", "blocks": r"^blocks" if coarse else blocks}

    vit.__class__ = Matched
    for final_norm, depth in (("head", 4), ("last_block", 3)):
        found = read_depths(vit, final_norm=final_norm)
        assert [found.ids[name] for name in ("patch_embed.bias", "blocks.2.fc.bias", "norm.weight")] == [0, 3, depth]
        assert found.ids["head.weight"] == found.last == 4
    assert read_depths(vit, stages=True).last == 2


def test_what_the_number_of_layers_may_be() -> None:
    headless, whole = named(*vit_at("", 3)), named(*vit_at("backbone.", 3), "top.weight")
    assert (read_depths(headless).last, read_depths(whole).last) == (3, 4)
    for model in (headless, whole):
        assert (read_depths(model, 3).last, read_depths(model, 9).last) == (4, 10)
    assert read_depths(headless, 2).last == 3  # the deepest layer is in the head's place
    for model, number in ((headless, 1), (whole, 2)):
        with pytest.raises(ValueError, match=rf"num_layers={number}, but .* up to 3: set num_layers=3 or 'auto'"):
            read_depths(model, number)


def test_the_scheme_that_knows_most_names_is_the_nearest() -> None:
    resnet = [f"big.layer{stage}.{block}.conv.weight" for stage in (1, 2, 3) for block in range(3)]
    with pytest.raises(ValueError, match=r"names in 'big' are nearly those of ResNet.*Unmatched: big\.odd\.weight$"):
        read_depths(named(*resnet, "big.odd.weight", *vit_at("small.", 2), "small.odd.weight"))


@pytest.mark.parametrize(("count", "more"), [(3, ""), (12, ""), (13, " and 1 more"), (20, " and 8 more")])
def test_twelve_names_that_no_scheme_knows_are_shown(count: int, more: str) -> None:
    with pytest.raises(ValueError, match="Unmatched: thing0") as caught:
        read_depths(named(*[f"thing{index}.weight" for index in range(count)]))
    assert str(caught.value).endswith(f"thing{min(count, 12) - 1}.weight{more}")


def test_a_backbone_is_looked_for_four_levels_down() -> None:
    names = [f"a.b.c.d.blocks.{index}.w.weight" for index in range(2)]
    found = read_depths(named("a.b.c.d.patch_embed.weight", *names, "top.weight"))
    assert list(found.ids.values()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no known naming scheme"):
        read_depths(named("e.a.b.c.d.patch_embed.weight", *[f"e.{name}" for name in names], "top.weight"))


def test_the_number_of_layers() -> None:
    assert layer_count("auto") is None
    assert layer_count(1) == 1
    for wrong in (0, -1, True, 1.0, None, "1"):
        with pytest.raises(ValueError, match=r"here\.num_layers=.*whole number of at least 1"):
            layer_count(wrong, "here.")


def test_depths_from_a_function() -> None:
    def depths(count: int | None, *ids: int | None) -> Depths:
        return from_function([str(place) for place in range(len(ids))], lambda name: ids[int(name)], count)

    assert depths(None, None, None) == Depths({"0": 1, "1": 1}, 1)
    assert depths(None, 0, 2, None, 1) == Depths({"0": 0, "1": 2, "2": 3, "3": 1}, 3)
    assert depths(2, 0, 2, None) == Depths({"0": 0, "1": 2, "2": 3}, 3)
    assert depths(5, 2, None) == Depths({"0": 2, "1": 6}, 6)
    with pytest.raises(ValueError, match=r"num_layers=2, but 1 lies in layer 3.*Set num_layers=3"):
        depths(2, 0, 3)
    with pytest.raises(TypeError, match=r"layer id of 2 is 0\.5"):
        depths(None, 0, None, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer id of 1 is -1"):
        depths(None, 0, -1, None)


def test_timms_mark_for_the_layer_before() -> None:
    names = ["stem.a", "norm.a", "blocks.0", "blocks.1"]
    matcher = {"stem": r"^stem", "mark": [(r"^norm", (99999,))], "none": None, "blocks": r"^blocks\.(\d+)"}
    assert from_matcher(names, matcher) == dict(zip(names, [0, 0, 1, 2], strict=True))
    assert from_matcher(["norm.a"], {"mark": [(r"^norm", (99999,))]}) == {"norm.a": 0}


def test_timms_notation_of_groups() -> None:
    names = ["stem.weight", "blocks.0.a", "blocks.0.b", "blocks.10.a", "blocks.2.a", "norm.weight", "head.weight"]
    matcher = {"stem": r"^stem", "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))]}
    assert from_matcher(names, matcher) == dict(zip(names, [0, 1, 1, 3, 2, 3, None], strict=True))
    assert from_matcher(["a", "b"], lambda name: (name == "b",)) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"decay_rate": -1.0}, ValueError, "decay_rate=-1.0"),
        ({"lr": float("nan")}, ValueError, "lr=nan"),
        ({"num_layers": "six"}, ValueError, "num_layers='six'"),
        ({"layer_ids": lambda name: "a"}, TypeError, "is 'a', a whole number"),
        ({"style": "mmseg"}, ValueError, "'torch' or 'timm'"),
        ({"final_norm": "block"}, ValueError, "'head' or 'last_block'"),
        ({"min_scal": 0.1}, TypeError, "Did you mean 'min_scale'"),
    ],
)
def test_bad_options(vit: nn.Module, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        layer_decay_param_groups(vit, **(OPTIONS | options))


def test_a_model_of_no_known_scheme_lists_its_names() -> None:
    with pytest.raises(ValueError, match=r"no known naming scheme.*layer_ids=.*thing\.weight, other\.weight"):
        layer_decay_param_groups(named("thing.weight", "other.weight"), **OPTIONS)


def test_the_names_that_a_near_scheme_does_not_know_are_listed(vit: nn.Module) -> None:
    vit.adapter = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"nearly those of ViT.*Unmatched: adapter\.weight, adapter\.bias$"):
        layer_decay_param_groups(vit, **OPTIONS)
    holder = nn.ModuleDict({"net": vit, "top": nn.Linear(1, 1)})
    with pytest.raises(ValueError, match=r"names in 'net' are nearly.*Unmatched: net\.adapter\.weight, net\.adapter"):
        layer_decay_param_groups(holder, **OPTIONS)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def test_a_compiled_part_is_as_deep_as_it_is_alone(vit: nn.Module) -> None:
    class Matched(type(vit)):  # type: ignore[misc]
        def group_matcher(self, coarse: bool = False) -> dict[str, str]:
            return {"stem": r"^cls_token|pos_embed|patch_embed", "blocks": r"^blocks\.(\d+)", "norm": r"^norm"}

    class Knows(type(vit)):  # type: ignore[misc]
        def get_layer_id(self, name: str) -> int:
            return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else 4 * name.startswith(("head", "norm"))

    for kind in (type(vit), Matched, Knows):
        vit.__class__ = kind
        for attribute in ("backbone", "net"):
            plain = nn.ModuleDict({attribute: vit, "decode_head": nn.Linear(1, 1)})
            inside = nn.ModuleDict({attribute: compiled(vit), "decode_head": plain["decode_head"]})
            expected = list(scales(plain, layer_decay_param_groups(plain, **OPTIONS)).values())
            assert len(set(expected)) >= 5
            assert list(scales(inside, layer_decay_param_groups(inside, **OPTIONS)).values()) == expected


def test_a_compiled_backbone_of_mmsegmentation_keeps_its_ids() -> None:
    paramwise = {"decay_rate": 0.9, "decay_type": "stage_wise", "num_layers": 12}
    models = [held("ConvNeXt", *CONVNEXT), held("ConvNeXt", *CONVNEXT)]
    models[1].backbone = compiled(models[1].backbone)
    plain, inside = (
        list(scales(m, built(m, "LearningRateDecayOptimizerConstructor", **paramwise).optimizer.param_groups).values())
        for m in models
    )
    assert plain == inside
    assert len(set(plain)) == 6


@pytest.mark.parametrize(
    ("constructor", "paramwise", "error", "words"),
    [
        ("LearningRateDecayOptimizerConstructor", {"num_layers": 12}, ValueError, "no 'decay_rate'"),
        ("LearningRateDecayOptimizerConstructor", {"decay_rate": 0.9}, ValueError, "no 'num_layers'"),
        (
            "LearningRateDecayOptimizerConstructor",
            {"decay_rate": 0.9, "num_layers": 12, "decay_type": "block_wise"},
            ValueError,
            "'layer_wise' or 'stage_wise'",
        ),
        (
            "LearningRateDecayOptimizerConstructor",
            {"decay_rat": 0.9, "num_layers": 12},
            ValueError,
            "Did you mean 'decay_rate'",
        ),
        ("LayerDecayOptimizerConstructor", {"num_layers": 12}, KeyError, "layer_decay_rate"),
        *[
            ("LearningRateDecayOptimizerConstructor", {"decay_rate": 0.9, "num_layers": 12} | wrong, error, words)
            for wrong, error, words in (
                ({"decay_rate": "0.9"}, TypeError, r"paramwise_cfg\.decay_rate='0\.9'"),
                ({"decay_rate": float("nan")}, ValueError, r"paramwise_cfg\.decay_rate=nan"),
                ({"decay_rate": 0}, ValueError, r"paramwise_cfg\.decay_rate=0 would freeze every layer"),
                ({"decay_rate": None}, TypeError, r"paramwise_cfg\.decay_rate is None"),
                ({"num_layers": "12"}, ValueError, r"paramwise_cfg\.num_layers='12'"),
                ({"head": -1}, ValueError, r"paramwise_cfg\.head=-1"),
                ({"min_scale": "a"}, TypeError, r"paramwise_cfg\.min_scale='a'"),
                ({"final_norm": "block"}, ValueError, r"paramwise_cfg\.final_norm='block'"),
                ({"layer_ids": "mine"}, TypeError, r"paramwise_cfg\.layer_ids='mine'"),
                ({"skip_tokens": "yes"}, TypeError, r"paramwise_cfg\.skip_tokens='yes'"),
            )
        ],
    ],
)
def test_bad_configs(constructor: str, paramwise: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        built(held("BEiT", *BEIT), constructor, **paramwise)


def test_layer_decay_without_settings_is_one_group_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="seg_optim"):
        wrapper = built(held("BEiT", *BEIT), "LayerDecayOptimizerConstructor")
    assert len(wrapper.optimizer.param_groups) == 1
    assert "no learning rate is decayed" in caplog.text
    cfg = {
        "optimizer": {"type": "AdamW", "lr": 1.0},
        "constructor": "LayerDecayOptimizerConstructor",
        "paramwise_cfg": {"num_layers": 12, "layer_decay_rate": 0.9},
    }
    with pytest.raises(ValueError, match="has no weight_decay"):
        build_optim_wrapper(held("BEiT", *BEIT), cfg)


@given(st.integers(1, 30), st.floats(0.1, 1.0), st.integers(0, 5))
def test_scales_are_powers_of_the_distance_to_the_head(depth: int, rate: float, extra: int) -> None:
    names = [f"blocks.{index}.weight" for index in range(depth)]
    found = from_function([*names, "head"], lambda n: None if n == "head" else int(n.split(".")[1]) + 1, depth + extra)
    assert found.ids["head"] == found.last == depth + extra + 1
    model = named(*names, "head.weight")
    groups = layer_decay_param_groups(model, lr=2.0, weight_decay=0.0, decay_rate=rate, num_layers=depth + extra)
    for index, name in enumerate(names):
        assert scales(model, groups)[name] == rate ** (depth + extra - index) * 2.0
