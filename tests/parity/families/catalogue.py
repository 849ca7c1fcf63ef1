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
        more: Overrides that only this config needs.
        quick: Whether it runs in `./run parity`; the others run in `./run parity:whole`.
    """

    config: str
    layout: str = "cityscapes"
    size: int = 64
    more: dict[str, Any] = field(default_factory=dict)
    quick: bool = False


# A ResNet-50 with a quarter of its channels.
R50 = {"model.backbone.base_channels": 16, "model.backbone.stem_channels": 16}
R50_D8 = {**R50, "model.decode_head.in_channels": 512, "model.auxiliary_head.in_channels": 256}
UNET = {
    "model.backbone.base_channels": 16,
    "model.decode_head.in_channels": 16,
    "model.decode_head.channels": 16,
    "model.auxiliary_head.in_channels": 32,
}

FAMILIES: dict[str, Family] = {
    "ERFNet": Family("erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py", quick=True),
    "DeepLabV3+": Family("deeplabv3plus/deeplabv3plus_r18-d8_4xb4-80k_loveda-512x512.py", "loveda", quick=True),
    "FCN": Family("fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py", "voc", more=R50_D8, quick=True),
    "SegNeXt": Family("segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py", "ade", quick=True),
    "U-Net": Family("unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py", "drive", more=UNET, quick=True),
    "BiSeNetV1": Family("bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py"),
    "BiSeNetV2": Family("bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py"),
    "DeepLabV3": Family("deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py"),
    "Fast-SCNN": Family("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py"),
    "HRNet": Family("hrnet/fcn_hr18s_4xb4-80k_loveda-512x512.py", "loveda"),
    "MobileNetV2": Family("mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py"),
    "OCRNet": Family("ocrnet/ocrnet_hr18s_4xb4-20k_voc12aug-512x512.py", "voc"),
    "PSPNet": Family("pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"),
    "STDC": Family("stdc/stdc1_4xb12-80k_cityscapes-512x1024.py"),
}
