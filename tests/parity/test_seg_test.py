"""`seg test` and MMSegmentation's `tools/test.py` on one config and one checkpoint: metrics, `--out`, `--show-dir`.

Their script is run as it is. Both are given the same files; only what makes ours draw as theirs is added.
"""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

for package in ("mmengine", "mmcv", "mmseg", "seg_registry", "seg_hooks", "seg_optim", "seg_vis"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from parity.families.layouts import make_data  # noqa: E402
from parity.families.side_by_side import overrides_of, stream  # noqa: E402

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
LEGACY = "visualizer.legacy_blend=True"
"""MMSegmentation's picture, instead of ours with headings: docs/differences.md, `pictures-with-headings`."""
UNET = {
    "model.backbone.base_channels": 16,
    "model.decode_head.in_channels": 16,
    "model.decode_head.channels": 16,
    "model.auxiliary_head.in_channels": 32,
}
BINARY = {f"model.{head}.out_channels": 1 for head in ("decode_head", "auxiliary_head")} | {
    f"model.{head}.loss_decode.use_sigmoid": True for head in ("decode_head", "auxiliary_head")
}


@dataclass(frozen=True)
class Case:
    """A config, its tiny data, what else it is given, and the flags of the command."""

    config: str
    layout: str
    more: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ("--show-dir", "--out")
    whole: bool = False


CASES = {
    "FCN": Case("fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py", "cityscapes"),
    "FCN, tta": Case(
        "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py", "cityscapes", flags=("--out", "--tta"), whole=True
    ),
    "SegFormer, tta": Case(
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "ade", flags=("--show-dir", "--out", "--tta")
    ),
    "U-Net, slide": Case("unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py", "drive", UNET, whole=True),
    "U-Net, slide, one channel": Case(
        "unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py",
        "drive",
        {**UNET, **BINARY, "model.decode_head.threshold": 0.48},
    ),
    # Their drawing draws random numbers, and so does this model: without pictures.
    "SegNeXt": Case("segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py", "ade", flags=("--out",)),
    "SegNeXt, workers": Case(
        "segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py",
        "ade",
        {"test_dataloader.num_workers": 2},
        flags=("--out", "--tta"),
        whole=True,
    ),
}
NAMES = [pytest.param(name, marks=pytest.mark.whole) if case.whole else name for name, case in CASES.items()]


def make_files(case: Case, folder: Path) -> tuple[Path, Path]:
    """Write a whole config with tiny data, and a checkpoint of its model."""
    configs = import_mmseg()
    from mmengine.config import Config
    from mmseg.registry import MODELS

    changes = overrides_of(configs / case.config, make_data(case.layout, folder), 64, {})
    changes |= {f"test{key[3:]}": value for key, value in changes.items() if key.startswith("val_dataloader.")}
    cfg = Config.fromfile(str(configs / case.config))
    changes |= {"default_hooks.visualization.interval": 1, "visualizer.name": folder.name}  # theirs are kept by name
    cfg.merge_from_dict({**changes, **case.more})
    for step in cfg.tta_pipeline:
        if step.get("type") == "TestTimeAug":
            step["transforms"][0] = [{"type": "Resize", "scale_factor": by, "keep_ratio": True} for by in (0.75, 1.0)]
    cfg.dump(str(folder / "cfg.py"))
    torch.manual_seed(3)
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict(), "meta": {}}, folder / "weights.pth")
    return folder / "cfg.py", folder / "weights.pth"


def words(case: Case, config: Path, weights: Path, folder: Path) -> list[str]:
    found = [str(config), str(weights), "--work-dir", str(folder / "run")]
    for flag in case.flags:
        found += [flag] if flag == "--tta" else [flag, str(folder / flag.strip("-"))]
    return found


def metrics(folder: Path) -> dict[str, Any]:
    """Return the one row of metrics that a test writes into its folder, times left out."""
    (file,) = (folder / "run").glob("*/2*.json")
    row = json.loads(file.read_text())
    beside = ("time", "data_time", "epoch", "iter", "mode")
    return {key: value for key, value in row.items() if key not in beside}


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Return every picture by its name; the fork counts images where MMSegmentation writes the iteration, 0."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.png"))}
    if stream() == "onedl":
        found = {re.sub(r"_\d+(?=\.png$)", "", name) if "vis_image" in name else name: found[name] for name in found}
    return {name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for name, path in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_command_gives_what_mmsegmentations_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    config, weights = make_files(case, tmp_path)
    script = import_mmseg().parent / "tools" / "test.py"
    monkeypatch.setattr(sys, "argv", ["test.py", *words(case, config, weights, tmp_path / "theirs")])
    runpy.run_path(str(script), run_name="__main__")

    from seg_engine.cli import main

    drawing = ["--cfg-options", LEGACY] if "--show-dir" in case.flags else []
    assert main(["test", *words(case, config, weights, tmp_path / "ours"), "--debug", *drawing]) == 0
    assert metrics(tmp_path / "ours") == metrics(tmp_path / "theirs") != {}
    ours, theirs = pictures(tmp_path / "ours"), pictures(tmp_path / "theirs")
    assert set(ours) == set(theirs)
    assert len(ours) == 3 * sum(flag != "--tta" for flag in case.flags)
    assert [path for path, one in ours.items() if not np.array_equal(one, theirs[path])] == []
