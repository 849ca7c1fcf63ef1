"""What is changed in a config of MMSegmentation so that a CPU trains it in seconds; all else stays as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moves_widths import dicts_in, narrow

__all__ = ["PICTURE", "WEIGHTS", "classes_of", "shrink", "side_of_picture", "stand_in"]

BATCH = 2
PICTURE = "picture.png"
WEIGHTS = "weights.pth"
WHOLE_MAPS = 49  # the average pooling of LRASPPHead takes no smaller map
FIXED = ("BEiT", "MAE")  # their position tables fit one size of image alone


def shrink(cfg: Any, folder: Path, steps: int) -> list[str]:
    """Shrink a config in place; return what was shrunk, in words.

    Args:
        cfg: The config.
        folder: Where the run writes, and where a picture of its samples will lie.
        steps: How many are trained.
    """
    size = side_of(cfg.model)
    cfg.work_dir, cfg.load_from, cfg.randomness = str(folder), None, {"seed": 0}
    cfg.train_cfg.max_iters = steps
    if "val_begin" in cfg.train_cfg:
        cfg.train_cfg.val_begin = 1
    told = [*_keep_odd_keys(cfg), *_shrink_images(cfg, size), *narrow(cfg.model)]
    if size > 64:
        told += _shrink_versions(cfg)
    if _weighs_classes(cfg.model):
        told.append("no ignored pixels, on which losses that weigh classes fail")
    _drop_weights(cfg, folder)
    _use_samples(cfg, size, folder)
    return told


def _keep_odd_keys(cfg: Any) -> list[str]:
    """Have a key that is nearly one of a run told and not refused, as whoever wrote `models = dict(...)` would do."""
    from seg_runner.assembly.from_config import misspelt

    lines = misspelt(cfg)
    if lines:
        cfg.seg = {"strict_keys": False}
    return [f"`seg.strict_keys=False`, since {line.partition(' (')[0]} is no key of a run" for line in lines]


def side_of(model: Any) -> int:
    """Return height and width of the samples, in pixels."""
    head = model.get("decode_head") or {}
    return 8 * (WHOLE_MAPS + 1) if isinstance(head, Mapping) and head.get("type") == "LRASPPHead" else 64


def side_of_picture(model: Any) -> int:
    """Return height and width of the picture that is tested in versions, of which the smallest has half of them."""
    fixed = (model.get("backbone") or {}).get("type") in FIXED
    return (2 if fixed or side_of(model) > 64 else 1) * side_of(model)


def _shrink_images(cfg: Any, size: int) -> list[str]:
    """Set the sizes of images that a model was given."""
    model = cfg.model
    norm, backbone = model.data_preprocessor, model.get("backbone") or {}
    told = [f"crops {_sides(norm)} to {size} x {size}"]
    norm.pop("size_divisor", None)
    norm.size = (size, size)
    if backbone.get("type") in FIXED:
        backbone.img_size = (size, size)
        model.test_cfg.update(crop_size=(size, size), stride=(2 * size // 3, 2 * size // 3))
    return told


def _shrink_versions(cfg: Any) -> list[str]:
    """Test the smallest size of a `tta_pipeline` alone, as a large picture in six of them takes a minute."""
    sizes = cfg.tta_pipeline[-1]["transforms"][0]
    del sizes[1:]
    return [f"one of the sizes of `tta_pipeline`, {sizes[0].get('scale_factor')}"]


def _sides(norm: Any) -> str:
    sides = norm.get("size") or norm.get("size_divisor") or "of no given size"
    return " x ".join(map(str, sides)) if isinstance(sides, list | tuple) else str(sides)


def _drop_weights(cfg: Any, folder: Path) -> None:
    """Take out weights to begin with, which would come over the network."""
    for part in dicts_in(cfg.model):
        if part.get("pretrained"):
            part["pretrained"] = None
        init = part.get("init_cfg")
        if isinstance(init, Mapping) and str(init.get("type")).startswith("Pretrained"):
            part["init_cfg"] = None
    if cfg.model.type == "MultimodalEncoderDecoder":  # its head cannot initialise itself without a file
        cfg.model.pretrained = str(folder / WEIGHTS)


def _use_samples(cfg: Any, size: int, folder: Path) -> None:
    """Give every loader small samples in place of a data set on the disk."""
    steps = {step["type"] for step in cfg.get("train_pipeline") or ()}
    dataset = {
        "type": "SmallSamples",
        "classes": classes_of(cfg.model),
        "size": (size, size),
        "channels": len(cfg.model.data_preprocessor.get("mean") or (0, 0, 0)),
        "ignored": not _weighs_classes(cfg.model),
        "edge": "GenerateEdge" in steps,
        "depth": "LoadDepthAnnotation" in steps,
        "img_path": str(folder / PICTURE),
    }
    for name, batch in (("train", BATCH), ("val", 1), ("test", 1)):
        loader = cfg[f"{name}_dataloader"]
        loader.batch_size, loader.num_workers, loader.persistent_workers = batch, 0, False
        loader.dataset = {**dataset, "length": 2 * batch}


def classes_of(model: Any) -> int:
    """Return how many classes a model tells apart; 2 where it tells none."""
    heads = model.get("decode_head") or {}
    head = heads[-1] if isinstance(heads, list | tuple) else heads
    return int(head.get("num_classes") or 2)


def _weighs_classes(model: Any) -> bool:
    """Tell whether a loss weighs classes: MMSegmentation's looks the weight of an ignored pixel up, and fails."""
    return any(part.get("class_weight") for part in dicts_in(model))


def stand_in(cfg: Any) -> str:
    """Put a backbone that can be built in the place of one that cannot; return what was put there, or nothing.

    VPD takes its features from Stable Diffusion's, which lies in a repository alone: the package `latent-diffusion`,
    which MMSegmentation requires for it, is empty.
    """
    model = cfg.model
    if (model.get("backbone") or {}).get("type") != "VPD":
        return ""
    model.backbone = {"type": "ResNetV1c", "depth": 18, "norm_cfg": {"type": "BN"}}
    model.decode_head.in_channels = [64, 128, 256, 512]
    return "VPD's backbone imports `ldm`, which PyPI's `latent-diffusion` has not: ResNetV1c-18 is in its place"
