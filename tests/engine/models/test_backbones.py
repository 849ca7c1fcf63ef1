from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from seg_optim import LearningRateDecayOptimizerConstructor
from torch import nn

from seg_engine.models.backbones import TinyConvNeXt, TinyViT
from seg_engine.models.heads import FuseHead, TinyFCNHead


@pytest.mark.parametrize("net", [TinyConvNeXt(), TinyViT(embed_dims=32, num_layers=1)])
def test_maps_have_the_promised_channels_and_shrink(net: nn.Module) -> None:
    maps = net(torch.zeros(2, 3, 64, 96))
    assert [x.shape[1] for x in maps] == list(net.out_channels)
    assert maps[0].shape[-2:] == (32, 48)
    assert all(a.shape[-1] >= b.shape[-1] for a, b in pairwise(maps))


def test_every_parameter_gets_a_gradient() -> None:
    for net in (TinyConvNeXt(), TinyViT(img_size=64, embed_dims=32, num_layers=1)):
        head = FuseHead(net.out_channels, 8, num_classes=3)
        head(net(torch.randn(2, 3, 64, 64))).square().mean().backward()
        assert not [name for name, value in net.named_parameters() if value.grad is None]


def test_layer_decay_reads_the_depth_of_the_convnext() -> None:
    model = nn.Module()
    model.backbone = TinyConvNeXt()
    model.head = nn.Linear(2, 2)
    make = LearningRateDecayOptimizerConstructor(
        {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1.0, "weight_decay": 0.05}},
        {"decay_rate": 0.5, "decay_type": "stage_wise", "num_layers": 6},
    )
    wrapper = make(model)
    rates = {
        id(value): group["lr"] for group in wrapper.optimizer.param_groups for value in group["params"] if "lr" in group
    }
    named = {name: rates[id(value)] for name, value in model.named_parameters()}
    assert named["backbone.downsample_layers.3.0.weight"] == pytest.approx(0.5**7)
    assert named["backbone.stages.2.1.gamma"] == pytest.approx(0.5**4)
    assert named["head.weight"] == 1.0


def test_the_vit_has_the_parameters_that_configs_exempt_from_decay() -> None:
    names = dict(TinyViT(embed_dims=32).named_parameters())
    for part in ("pos_embed", "cls_token", "norm"):
        assert any(part in name for name in names)


def test_the_vits_positions_follow_the_image_size() -> None:
    net = TinyViT(img_size=64, embed_dims=32, num_layers=1)
    assert net(torch.zeros(1, 3, 96, 48))[-1].shape[-2:] == (12, 6)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="patch_size=6"):
        TinyViT(patch_size=6)
    with pytest.raises(ValueError, match="2 depths but 3 channels"):
        TinyConvNeXt(depths=(1, 1), channels=(8, 8, 8))


def test_stem_stride_4_is_the_original_pyramid() -> None:
    maps = TinyConvNeXt(stem_stride=4)(torch.zeros(1, 3, 64, 64))
    assert [x.shape[-1] for x in maps] == [16, 8, 4, 2]


def test_heads_use_the_maps_they_are_told_to() -> None:
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4), torch.randn(1, 8, 2, 2)]
    head = FuseHead([4, 8], channels=5, num_classes=3, in_index=[0, 2]).eval()
    assert head(maps).shape == (1, 3, 8, 8)
    with torch.no_grad():
        changed = [maps[0], maps[1] + 1, maps[2]]
        assert torch.equal(head(maps), head(changed))
    assert TinyFCNHead(6, channels=5, num_classes=3, in_index=1, num_convs=0)(maps).shape == (1, 3, 4, 4)
