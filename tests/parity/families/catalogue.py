"""Families of MMSegmentation's configs, one config file each, and what makes each small enough for a CPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True)
class Family:
    """One config file, on tiny data.

    Args:
        config: The file, below the folder of configs.
        layout: The data set, a name of `layouts.LAYOUTS`.
        size: Sides of the crop.
        ignored: Share of pixels without a class; a class-weighted loss of MMSegmentation 1.2.2 fails on any.
        more: Overrides that only this config needs.
        quick: Whether it runs in `./run parity`; the others run in `./run parity:whole`.
    """

    config: str
    layout: str = "cityscapes"
    size: int = 64
    ignored: float = 0.03
    more: dict[str, Any] = field(default_factory=dict)
    quick: bool = False


def backbone(**options: Any) -> dict[str, Any]:
    """Return overrides of the backbone."""
    return {f"model.backbone.{key}": value for key, value in options.items()}


def heads(decode: dict[str, Any], auxiliary: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return overrides of the heads."""
    found = {f"model.decode_head.{key}": value for key, value in decode.items()}
    return found | {f"model.auxiliary_head.{key}": value for key, value in (auxiliary or {}).items()}


def vit(dims: int = 96) -> dict[str, Any]:
    """Return overrides that leave four narrow layers of a vision transformer."""
    return backbone(embed_dims=dims, num_layers=4, num_heads=4, out_indices=(0, 1, 2, 3))


def uper(channels: tuple[int, ...]) -> dict[str, Any]:
    """Return overrides of UPerNet's two heads behind a backbone of so many channels."""
    return heads({"in_channels": list(channels), "channels": 64}, {"in_channels": channels[2], "channels": 32})


# A ResNet-50 with a quarter of its channels; its last two stages have 256 and 512.
R50 = backbone(base_channels=16, stem_channels=16)
R50_D8 = {**R50, **heads({"in_channels": 512, "channels": 128}, {"in_channels": 256, "channels": 64})}
R50_ENC = {**R50, **heads({"in_channels": (128, 256, 512), "channels": 64}, {"in_channels": 256})}
R50_FPN = {**R50, "model.neck.in_channels": [64, 128, 256, 512]}
SCALE = {"train_dataloader.dataset.pipeline.2.scale": (512, 128)}  # so that no crop is padded
UNET = {**backbone(base_channels=16), **heads({"in_channels": 16, "channels": 16}, {"in_channels": 32})}
VIT = (96, 96, 96, 96)
SWIN = {**backbone(embed_dims=24, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]), **uper((24, 48, 96, 192))}
TWINS = {
    **backbone(embed_dims=[16, 32, 64, 128], num_heads=[1, 2, 4, 8], depths=[1, 1, 2, 1]),
    **uper((16, 32, 64, 128)),
}
DPT = heads({"in_channels": VIT, "embed_dims": 96, "channels": 32, "post_process_channels": [24, 48, 96, 192]})
SETR = {f"model.auxiliary_head.{index}.in_channels": 96 for index in range(3)}
JPU = {
    **R50,
    "model.neck.in_channels": (128, 256, 512),
    "model.neck.mid_channels": 64,
    **heads({"in_channels": 256, "channels": 64}, {"in_channels": 256, "channels": 32}),
}
KNET = {"model.decode_head.kernel_generate_head.in_channels": 512, "model.auxiliary_head.in_channels": 256}

FAMILIES: dict[str, Family] = {
    "ERFNet": Family("erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py"),
    "DeepLabV3+": Family("deeplabv3plus/deeplabv3plus_r18-d8_4xb4-80k_loveda-512x512.py", "loveda", quick=True),
    "FCN": Family("fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_D8),
    "SegNeXt": Family("segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py", "ade", quick=True),
    "U-Net": Family("unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py", "drive", more=UNET, quick=True),
    "ANN": Family(
        "ann/ann_r50-d8_4xb4-20k_voc12aug-512x512.py",
        "voc",
        more={**R50_D8, "model.decode_head.in_channels": [256, 512]},
    ),
    "APCNet": Family("apcnet/apcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py", more=R50_D8),
    "BEiT": Family(
        "beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py",
        "ade",
        more={**vit(), **uper(VIT), "model.neck.embed_dim": 96},
    ),
    "BiSeNetV1": Family("bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py"),
    "BiSeNetV2": Family("bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py"),
    "CCNet": Family("ccnet/ccnet_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_D8),
    "CGNet": Family("cgnet/cgnet_fcn_4xb8-60k_cityscapes-512x1024.py", ignored=0, more=SCALE),
    "ConvNeXt": Family(
        "convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py",
        "ade",
        more={**backbone(arch="atto"), **uper((40, 80, 160, 320))},
    ),
    "DANet": Family("danet/danet_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_D8),
    "DDRNet": Family("ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py", ignored=0, more=SCALE),
    "DMNet": Family("dmnet/dmnet_r50-d8_4xb2-40k_cityscapes-512x1024.py", more=R50_D8),
    "DNLNet": Family("dnlnet/dnl_r50-d8_4xb2-40k_cityscapes-512x1024.py", more=R50_D8),
    "DPT": Family("dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512.py", "ade", more={**vit(), **DPT}),
    "DeepLabV3": Family("deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py"),
    "EMANet": Family(
        "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024.py",
        more={**R50, "model.decode_head.in_channels": 512, "model.auxiliary_head.in_channels": 256},
    ),
    "EncNet": Family("encnet/encnet_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_ENC),
    "Fast-SCNN": Family("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py"),
    "FastFCN": Family("fastfcn/fastfcn_r50-d32_jpu_psp_4xb4-80k_ade20k-512x512.py", "ade", more=JPU),
    "GCNet": Family("gcnet/gcnet_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_D8),
    "HRNet": Family("hrnet/fcn_hr18s_4xb4-80k_loveda-512x512.py", "loveda"),
    "ICNet": Family("icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py"),
    "ISANet": Family("isanet/isanet_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_D8),
    "K-Net": Family("knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py", "ade", more={**R50, **KNET}),
    "MAE": Family(
        "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py",
        "ade",
        more={**vit(), **uper(VIT), "model.neck.embed_dim": 96},
    ),
    "MobileNetV2": Family("mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py"),
    "MobileNetV3": Family("mobilenet_v3/mobilenet-v3-d8-scratch-s_lraspp_4xb4-320k_cityscapes-512x1024.py", size=400),
    "NonLocal": Family("nonlocal_net/nonlocal_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_D8),
    "OCRNet": Family("ocrnet/ocrnet_hr18s_4xb4-20k_voc12aug-512x512.py", "voc"),
    "PIDNet": Family("pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py", ignored=0, more=SCALE),
    "PSANet": Family(
        "psanet/psanet_r50-d8_4xb4-20k_voc12aug-512x512.py",
        "voc",
        more={**R50_D8, "model.decode_head.mask_size": (15, 15)},
    ),
    "PSPNet": Family("pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"),
    "PointRend": Family("point_rend/pointrend_r50_4xb4-160k_ade20k-512x512.py", "ade", more=R50_FPN),
    "PoolFormer": Family("poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512.py", "ade"),
    "ResNeSt": Family(
        "resnest/resnest_s101-d8_fcn_4xb4-160k_ade20k-512x512.py",
        "ade",
        more={**R50_D8, **backbone(depth=50, base_channels=16, stem_channels=32)},
    ),
    "SETR": Family(
        "setr/setr_vit-l_naive_8xb2-160k_ade20k-512x512.py",
        "ade",
        more={**vit(), **heads({"in_channels": 96}), **SETR},
    ),
    "STDC": Family("stdc/stdc1_4xb12-80k_cityscapes-512x1024.py"),
    "SegFormer": Family("segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "ade"),
    "Segmenter": Family(
        "segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py", "ade", more=backbone(num_layers=4)
    ),
    "Swin": Family("swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py", "ade", more=SWIN),
    "Twins": Family("twins/twins_svt-s_uperhead_8xb2-160k_ade20k-512x512.py", "ade", more=TWINS),
    "UPerNet": Family("upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py", more={**R50, **uper((64, 128, 256, 512))}),
    "ViT": Family(
        "vit/vit_deit-s16_upernet_8xb2-160k_ade20k-512x512.py",
        "ade",
        more={**vit(), **uper(VIT)},
    ),
    "semantic FPN": Family("sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py", "ade", more=R50_FPN),
}
