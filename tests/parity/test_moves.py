"""Configs of MMSegmentation's wheel, one of each kind, trained by `./run moves`; the rest of each config is built."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    importlib.metadata.version("mmsegmentation")
except importlib.metadata.PackageNotFoundError:
    pytest.skip("mmsegmentation is in the parity environment only", allow_module_level=True)

import moves
import moves_config
import moves_run
import torch
from seg_registry import Config
from seg_runner import Runner
from seg_runner.assembly.from_config import misspelt

pytestmark = pytest.mark.filterwarnings("ignore")
KINDS = {
    "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py": "sliding windows, synchronised norms",
    "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py": "`checkpoint = ...` at the top, custom_keys",
    "convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py": "custom_imports, mixed precision, layer decay",
    "pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py": "maps of edges",
    "bisenetv2/bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024.py": "`models = ...` in place of `model`",
    "maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py": "parts of MMDetection",
}
MORE = {
    "unet/unet-s5-d16_fcn_4xb4-40k_stare-128x128.py": "a data set that is repeated, mDice",
    "ocrnet/ocrnet_hr18s_4xb4-20k_voc12aug-512x512.py": "a cascade",
    "psanet/psanet_r50-d8_4xb2-40k_cityscapes-769x769.py": "an operator that mmcv-lite has not",
}


@pytest.fixture(scope="module", autouse=True)
def prepared() -> Iterator[None]:
    threads = torch.get_num_threads()
    moves_run.prepare()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", [*KINDS, *(pytest.param(name, marks=pytest.mark.whole) for name in MORE)])
def test_a_config_of_each_kind_trains(name: str) -> None:
    row = moves_run.row_of(name, 2)
    assert (row["kind"], row["reason"]) == ("own model", "")
    assert row["theirs"] == []
    assert row["tta"] == "12 versions"


def test_a_backbone_that_is_in_no_package_has_a_stand_in() -> None:
    row = moves_run.row_of("vpd/vpd_sd_4xb8-25k_nyu-480x480.py", 2)
    assert row["kind"] == "stand-in"
    assert "ldm" in row["reason"]
    assert row["theirs"] == []


@pytest.mark.whole
@pytest.mark.parametrize("name", ["san/san-vit-b16_voc12aug-640x640.py", "san/san-vit-b16_pascal_context-640x640.py"])
def test_what_the_config_gets_wrong_itself_fails_there_too(name: str) -> None:
    """172 weights for 21 and 60 classes; MMEngine is asked anew for each config, in the same words."""
    row = moves_run.row_of(name, 2)
    assert row["kind"] == "fails there too"
    assert "weight tensor should be defined" in row["reason"]
    assert "; there: " not in row["reason"]


@pytest.mark.whole
def test_what_mmengine_trains_is_no_fault_of_the_config(tmp_path: Path) -> None:
    name = moves_run.configs_folder() / "unet/unet-s5-d16_fcn_4xb4-40k_stare-128x128.py"
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        assert moves_run.mmengine_raises(name, 2, tmp_path / place) is None


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    config = "model = dict(type='EncoderDecoder', decode_head=dict(type='nosuchpackage.Head', norm='mmpretrain.BN'))"
    (tmp_path / "config.py").write_text(config, encoding="utf-8")
    assert moves_run.absent_packages(tmp_path / "config.py") == ["nosuchpackage"]


@pytest.mark.whole
@pytest.mark.skipif(importlib.util.find_spec("osgeo") is not None, reason="gdal is here")
def test_a_package_that_only_the_tta_pipeline_asks_for_is_named() -> None:
    row = moves_run.row_of("swin/swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256.py", 2)
    assert row["kind"] == "package absent"
    assert row["reason"].startswith("`gdal` is not installed, which its `tta_pipeline` asks for")
    assert len(row["losses"]) == 2


PARTS = (
    *("optim_wrapper", "param_scheduler", "train_cfg", "val_cfg", "test_cfg", "val_evaluator", "test_evaluator"),
    *("default_hooks", "custom_hooks", "visualizer", "log_processor", "env_cfg", "default_scope", "custom_imports"),
)


class Model(torch.nn.Module):
    """Has steps, and layers whose rates decay."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.decode_head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    def get_layer_id(self, name: str) -> int | None:
        return 0 if name.startswith("backbone") else None

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    val_step = test_step = train_step


def test_all_parts_but_model_and_data_build(tmp_path: Path) -> None:
    """Once for all configs in which they are the same; of their other keys one alone is nearly one of a run."""
    names, seen, odd = moves.experiments(), set(), []
    assert len(names) == 681
    for name in names:
        cfg = Config.fromfile(moves_run.configs_folder() / name)
        odd += [name] if misspelt(cfg) else []
        parts = {key: cfg[key] for key in PARTS if key in cfg and key != "custom_imports"}
        text = json.dumps(parts, sort_keys=True, default=str)
        if text in seen:
            continue
        seen.add(text)
        loaders = {f"{mode}_dataloader": [{}] for mode in ("train", "val", "test")}
        runner = Runner.from_cfg({**parts, **loaders, "model": Model(), "work_dir": str(tmp_path)})
        runner.build_training()
        assert {type(hook).__name__ for hook in runner.hooks} >= {hook["type"] for hook in cfg.default_hooks.values()}
    assert len(seen) > 40
    assert odd == ["bisenetv2/bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024.py"]


@pytest.mark.parametrize("name", [*KINDS, "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py"])
def test_only_sizes_data_and_weights_are_changed(name: str, tmp_path: Path) -> None:
    path = moves_run.configs_folder() / name
    before, after = Config.fromfile(path), Config.fromfile(path)
    moves_config.shrink(after, tmp_path, 2)
    after.train_cfg.max_iters = before.train_cfg.max_iters
    assert [key for key in PARTS if before.get(key) != after.get(key)] == []


def test_a_model_that_needs_large_maps_tests_one_size_of_a_picture(tmp_path: Path) -> None:
    name = "mobilenet_v3/mobilenet-v3-d8_lraspp_4xb4-320k_cityscapes-512x1024.py"
    cfg = Config.fromfile(moves_run.configs_folder() / name)
    told = moves_config.shrink(cfg, tmp_path, 2)
    assert [size["scale_factor"] for size in cfg.tta_pipeline[-1]["transforms"][0]] == [0.5]
    assert any("tta_pipeline" in line for line in told)
