"""MMSegmentation's own models and optimizer settings, where mmcv has no compiled operators."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

from benchmarks._mmsegmentation import import_mmseg

CONFIGS = {
    "beit-b": "beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py",
    "convnext-t": "convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py",
    "convnext-b": "convnext/convnext-base_upernet_8xb2-amp-160k_ade20k-512x512.py",
    "mae-b": "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py",
    "swin-t": "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
    "segformer-b0": "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
    "segformer-b5": "segformer/segformer_mit-b5_8xb2-160k_ade20k-512x512.py",
}


@cache
def model_and_settings(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """One model with random weights and its config's `optim_wrapper`."""
    folder = import_mmseg()
    from mmengine.config import Config
    from mmseg.registry import MODELS

    cfg = Config.fromfile(folder / CONFIGS[name])
    cfg.model.pretrained = None
    cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model), cfg.optim_wrapper.to_dict()
