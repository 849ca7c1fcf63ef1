"""MMSegmentation's own models and optimizer settings, where mmcv has no compiled operators."""

from __future__ import annotations

import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

CONFIGS = {
    "beit-b": "beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py",
    "convnext-t": "convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py",
    "convnext-b": "convnext/convnext-base_upernet_8xb2-amp-160k_ade20k-512x512.py",
    "mae-b": "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py",
    "swin-t": "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
    "segformer-b0": "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
    "segformer-b5": "segformer/segformer_mit-b5_8xb2-160k_ade20k-512x512.py",
}


class _Operators(types.ModuleType):
    """Stands in for `mmcv.ops`: every name is an empty module."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})


def import_torchvision() -> None:
    """Import torchvision also where its compiled operators do not fit the CPU build of torch."""
    real = torch.library.register_fake

    def register(name: Any, *args: Any, **kwargs: Any) -> Any:
        return (lambda function: function) if str(name).startswith("torchvision::") else real(name, *args, **kwargs)

    torch.library.register_fake = register
    try:
        import torchvision  # noqa: F401
    finally:
        torch.library.register_fake = real


@cache
def import_mmseg() -> Path:
    """Import MMSegmentation with its models; returns the folder of its configs."""
    import mmcv

    mmcv.__version__ = "2.1.0"
    sys.modules.setdefault("mmcv.ops", _Operators("mmcv.ops"))
    import_torchvision()
    import mmseg.engine
    import mmseg.models
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    return Path(mmseg.__file__).parent / ".mim/configs"


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
