"""How models of MMSegmentation are made narrower, by the keys of their configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["dicts_in", "narrow"]

FACTORS = {
    **dict.fromkeys(("ResNet", "ResNetV1c", "ResNeSt", "ICNet", "BiSeNetV1", "UNet"), 4),
    **dict.fromkeys(("SwinTransformer", "MixVisionTransformer", "PCPVT", "SVT", "mmpretrain.ConvNeXt"), 4),
    **dict.fromkeys(("VisionTransformer", "BEiT", "MAE"), 8),
    "HRNet": 2,
}
"""By what the widths are divided; models that are no key here are small enough."""
WIDTHS = ("channels", "dims", "embed_dim", "num_feats")
CONVNEXT = {"tiny": (9, 96), "small": (27, 96), "base": (27, 128), "large": (27, 192), "xlarge": (27, 256)}
"""Depth of the third stage, and width of the first."""


def dicts_in(value: object) -> Iterator[Any]:
    """Return every dict inside a value, itself included."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from dicts_in(inner)


def narrow(model: Any) -> list[str]:
    """Make a model narrower and, where it is a ResNet of more than 50 layers, shallower; return what was changed."""
    backbone = model.get("backbone") or {}
    kind = str(backbone.get("type"))
    factor = _factor(model)
    if model.type == "MultimodalEncoderDecoder":
        factor = FACTORS["VisionTransformer"]
        model.text_encoder.templates = ["a photo of a {}."]
    told = [f"depth {part['depth']} to 50" for part in _deep(model)]
    for part in _deep(model):
        part["depth"] = 50
    if factor == 1:
        return told
    if kind == "mmpretrain.ConvNeXt":
        third, first = CONVNEXT[backbone.arch]
        backbone.arch = {"depths": [3, 3, third, 3], "channels": [first << stage for stage in range(4)]}
    for part in dicts_in(model):
        if str(part.get("type")).startswith("ResNe"):
            part.setdefault("base_channels", 64)
            part.setdefault("stem_channels", 64)
        _divide(part, factor, classes=part.get("num_classes"))
    return [*told, f"widths / {factor}"]


def _factor(model: Any) -> int:
    """Return by what the widths are divided: by more where the first stage is wide, and no group norm needs them."""
    backbone = model.get("backbone") or {}
    kind = str(backbone.get("type"))
    first = backbone.extra.stage2.num_channels[0] if kind == "HRNet" else backbone.get("embed_dims", 0)
    wide = (kind == "HRNet" and first > 40) or (kind == "SwinTransformer" and first > 96)
    grouped = any("num_groups" in part for part in dicts_in(model))
    return FACTORS.get(kind, 1) * (2 if wide and not grouped else 1)


def _deep(model: Any) -> list[Any]:
    """Return the parts that are ResNets of more than 50 layers."""
    return [
        part
        for part in dicts_in(model)
        if str(part.get("type")).startswith("ResNe") and isinstance(part.get("depth"), int) and part["depth"] > 50
    ]


def _divide(part: Any, factor: int, classes: object) -> None:
    for key, value in list(part.items()):
        if key.endswith(WIDTHS) and not (key == "out_channels" and value == classes):
            part[key] = _narrower(value, factor)


def _narrower(value: Any, factor: int) -> Any:
    """Return a width, or several, divided; what is small (an image's three channels) or no multiple stays."""
    if isinstance(value, list | tuple):
        return type(value)(_narrower(one, factor) for one in value)
    whole = isinstance(value, int) and value >= 16 and value % factor == 0
    return value // factor if whole else value
