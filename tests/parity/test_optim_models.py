"""Layer decay over the models of timm, transformers and torchvision: no unmatched name, depths right, timm's scales."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

for package in ("timm", "transformers", "torchvision"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from seg_optim import layer_decay_param_groups  # noqa: E402
from torch import nn  # noqa: E402

from seg_engine.mmseg.vision import import_torchvision  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

TIMM = """
vit_tiny_patch16_224 vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2 vit_base_patch16_clip_224
vit_base_patch16_siglip_224 vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224 flexivit_small
deit_tiny_patch16_224
deit_tiny_distilled_patch16_224 deit3_small_patch16_224 beit_base_patch16_224
beitv2_base_patch16_224 eva02_tiny_patch14_224 eva_giant_patch14_224 vit_base_r26_s32_224
cait_xxs24_224 xcit_nano_12_p16_224
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 convnext_tiny convnext_atto
convnextv2_atto
resnet18 resnet50 resnext50_32x4d seresnet50 res2net50_26w_4s resnest14d resnetv2_50x1_bit ecaresnet26t regnety_002
regnetx_002 efficientnet_b0 efficientnetv2_s tf_efficientnet_lite0 mobilenetv2_100 mobilenetv3_small_100
mobilenetv4_conv_small
mnasnet_100 ghostnet_100 hrnet_w18_small densenet121 dpn48b vgg11 darknet21 cspresnet50 nfnet_f0 rexnet_100
mixer_s16_224 gmlp_s16_224 resmlp_12_224 convmixer_768_32 poolformer_s12 caformer_s18
pit_ti_224 tnt_s_patch16_224 twins_svt_small pvt_v2_b0 coat_tiny crossvit_tiny_240 levit_128s visformer_tiny nest_tiny
maxvit_tiny_rw_224 coatnet_0_rw_224 volo_d1_224 mvitv2_tiny davit_tiny focalnet_tiny_srf efficientformer_l1
edgenext_xx_small mobilevit_xxs mobilevitv2_050 mobileone_s0 fastvit_t8 repvit_m0_9 repvgg_a0 inception_next_tiny
hiera_tiny_224 hgnet_tiny tiny_vit_5m_224 gcvit_xxtiny nextvit_small xception41 inception_v3 selecsls42 skresnet18
""".split()  # noqa: SIM905


@pytest.fixture(autouse=True, scope="module")
def torchvision_is_there() -> None:
    import_torchvision()


def known_timm_models() -> list[str]:
    import_torchvision()
    import timm

    return [name for name in TIMM if timm.is_model(name)]


def rates(groups: list[dict[str, Any]]) -> dict[int, float]:
    return {id(p): group["lr"] * group.get("lr_scale", 1.0) for group in groups for p in group["params"]}


@pytest.mark.parametrize("name", TIMM)
def test_timm_models_get_timms_own_scales(name: str) -> None:
    import timm
    from timm.optim import param_groups_layer_decay

    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    with torch.device("cpu"):
        model = timm.create_model(name)
    if not hasattr(model, "group_matcher"):
        assert len(set(depths(model).values())) > 8
        return
    theirs = rates([{"lr": 1.0, **g} for g in param_groups_layer_decay(model, layer_decay=0.7)])
    options = {"lr": 1.0, "weight_decay": 0.05, "decay_rate": 0.7}
    ours = layer_decay_param_groups(model, **options, final_norm="last_block")
    assert rates(ours) == theirs
    timm_style = layer_decay_param_groups(model, **options, final_norm="last_block", style="timm")
    assert {group["lr"] for group in timm_style} == {1.0}
    assert rates(timm_style) == theirs


def test_the_matrix_has_sixty_families() -> None:
    assert len(known_timm_models()) >= 60


def depths(model: nn.Module, **options: Any) -> dict[str, float]:
    """Name -> how many decays below the head, with a rate of 1/2."""
    groups = layer_decay_param_groups(model, lr=1.0, weight_decay=0.0, decay_rate=0.5, **options)
    where = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {name: where[id(p)] for name, p in model.named_parameters() if p.requires_grad}


SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
FLAT = [
    ("ViTModel", "ViTConfig", {}),
    ("ViTForImageClassification", "ViTConfig", {}),
    ("BeitModel", "BeitConfig", {}),
    ("DeiTModel", "DeiTConfig", {}),
    ("Dinov2Model", "Dinov2Config", {}),
    ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {}),
    ("DINOv3ViTModel", "DINOv3ViTConfig", {}),
    ("ViTMAEModel", "ViTMAEConfig", {}),
    ("CLIPVisionModel", "CLIPVisionConfig", {}),
    ("SiglipVisionModel", "SiglipVisionConfig", {}),
    ("DPTForSemanticSegmentation", "DPTConfig", {"num_hidden_layers": 12}),
]
STAGED = [
    ("SegformerForSemanticSegmentation", "SegformerConfig", 8),
    ("SwinModel", "SwinConfig", 12),
    ("Swinv2Model", "Swinv2Config", 12),
    ("ConvNextModel", "ConvNextConfig", 18),
    ("ConvNextV2ForImageClassification", "ConvNextV2Config", 18),
    ("ResNetModel", "ResNetConfig", 16),
    ("PvtModel", "PvtConfig", 8),
    ("PvtV2Model", "PvtV2Config", 8),
    ("HieraModel", "HieraConfig", 24),
]


def hugging_face(model: str, config: str, **options: Any) -> nn.Module:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**options))


@pytest.mark.parametrize(("model", "config", "options"), FLAT, ids=[case[0] for case in FLAT])
def test_transformers_of_hugging_face_are_as_deep_as_they_say(model: str, config: str, options: dict[str, Any]) -> None:
    layers = options.get("num_hidden_layers", 5)
    net = hugging_face(model, config, **({**SMALL, "num_hidden_layers": 5} | options))
    found = depths(net)
    assert len(set(found.values())) == layers + 2
    stem = [scale for name, scale in found.items() if "patch_embed" in name and "projection.weight" in name]
    assert all(scale == 0.5 ** (layers + 1) for scale in stem)


@pytest.mark.parametrize(("model", "config", "blocks"), STAGED, ids=[case[0] for case in STAGED])
def test_backbones_with_stages_are_as_deep_as_their_blocks(model: str, config: str, blocks: int) -> None:
    found = depths(hugging_face(model, config))
    headless = blocks + 1 == len(set(found.values()))
    assert len(set(found.values())) == blocks + 2 or headless
    assert min(found.values()) == 0.5 ** (blocks + 1 - headless)


def test_models_that_hold_a_backbone_somewhere() -> None:
    import transformers

    swin = transformers.SwinConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    found = depths(transformers.UperNetForSemanticSegmentation(transformers.UperNetConfig(backbone_config=swin)))
    assert found["decode_head.classifier.weight"] == 1.0
    assert found["backbone.swin.embeddings.norm.weight"] == 0.5**13
    found = depths(transformers.Mask2FormerForUniversalSegmentation(transformers.Mask2FormerConfig()))
    assert found["model.pixel_level_module.encoder.swin.encoder.layers.3.blocks.1.layernorm_before.weight"] < 1.0
    assert found["class_predictor.weight"] == 1.0


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", 8),
        ("resnet50", 16),
        ("vit_b_16", 12),
        ("swin_t", 12),
        ("swin_v2_t", 12),
        ("convnext_tiny", 18),
        ("densenet121", 58),
        ("mobilenet_v2", 18),
        ("efficientnet_b0", 8),
        ("vgg11", 7),
    ],
)
def test_torchvision(name: str, layers: int) -> None:
    import torchvision

    assert len(set(depths(getattr(torchvision.models, name)()).values())) == layers + 2


def test_torchvision_segmentation() -> None:
    from torchvision.models import segmentation

    found = depths(segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None))
    assert found["classifier.4.weight"] == 1.0
    assert found["backbone.conv1.weight"] == 0.5**17


def test_frozen_parameters_do_not_move_the_others() -> None:
    import timm

    model = timm.create_model("vit_tiny_patch16_224")
    before = depths(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("patch_embed", "blocks.0.", "blocks.5.")))
    groups = layer_decay_param_groups(model, lr=1.0, weight_decay=0.0, decay_rate=0.5)
    where = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert where.get(id(parameter), before[name]) == before[name]


def test_a_bare_timm_backbone_inside_another_model() -> None:
    import timm

    class Segmentor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
            self.to_logits = nn.Conv2d(768, 3, 1)

    found = depths(Segmentor())
    assert found["to_logits.weight"] == found["net.norm.weight"] == 1.0
    assert found["net.layers.3.blocks.1.norm1.weight"] == 0.5
    assert found["net.patch_embed.proj.weight"] == 0.5**13
