"""A model of MMSegmentation, from its kind of config: trained by MMEngine and here, the same losses and metrics."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

for package in ("mmengine", "mmcv", "mmseg", "seg_registry", "seg_hooks", "seg_optim", "seg_vis"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
NORM = {"type": "BN", "requires_grad": True}


class Blocks(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Samples of MMSegmentation's kind, drawn from their index."""

    metainfo = {"classes": ("a", "b", "c"), "palette": [[0, 0, 0], [9, 9, 9], [99, 99, 99]]}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        generator = torch.Generator().manual_seed(index)
        sample = SegDataSample(metainfo={"img_shape": (32, 32), "ori_shape": (32, 32), "img_path": f"{index}.png"})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, 32, 32), generator=generator))
        return {"inputs": torch.randint(0, 255, (3, 32, 32), generator=generator).byte(), "data_samples": sample}


class Writes:
    """Writes down losses and metrics; MMEngine wants a base class, which is put under it below."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.metrics: list[dict[str, float]] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append({name: float(value) for name, value in outputs.items()})

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.metrics.append({name: float(value) for name, value in metrics.items()})


def config(work_dir: Path, dataset: Any) -> dict[str, Any]:
    loader = {"num_workers": 0, "dataset": {"type": dataset}}
    norm = {"mean": [123.0, 116.0, 103.0], "std": [58.0, 57.0, 57.0], "bgr_to_rgb": True, "size": (32, 32)}
    backbone = {"type": "ResNetV1c", "depth": 18, "num_stages": 4, "out_indices": (0, 1, 2, 3), "norm_cfg": NORM}
    head = {"in_channels": 512, "in_index": 3, "channels": 16, "num_convs": 1, "num_classes": 3, "norm_cfg": NORM}
    return {
        "default_scope": "mmseg",
        "work_dir": str(work_dir),
        "model": {
            "type": "EncoderDecoder",
            "data_preprocessor": {"type": "SegDataPreProcessor", **norm, "pad_val": 0, "seg_pad_val": 255},
            "backbone": backbone,
            "decode_head": {
                "type": "FCNHead",
                **head,
                "concat_input": False,
                "loss_decode": {"type": "CrossEntropyLoss"},
            },
            "train_cfg": {},
            "test_cfg": {"mode": "whole"},
        },
        "train_dataloader": {**loader, "batch_size": 2, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        "val_dataloader": {**loader, "batch_size": 1, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU", "mFscore"]},
        "val_cfg": {"type": "ValLoop"},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 6},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
        "param_scheduler": [
            {"type": "PolyLR", "eta_min": 1e-4, "power": 0.9, "begin": 0, "end": 12, "by_epoch": False}
        ],
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": 4, "log_metric_by_epoch": False},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 6, "save_best": "mIoU"},
        },
        "log_processor": {"by_epoch": False},
        "randomness": {"seed": 3},
        "experiment_name": "parity",
        "log_level": "ERROR",
    }


def test_a_model_of_mmsegmentation_trains_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_mmseg()
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner as Reference
    from mmseg.registry import DATASETS
    from seg_runner import Runner

    monkeypatch.setitem(sys.modules, "torchvision", None)
    DATASETS.register_module(module=Blocks, force=True)
    theirs, ours = type("Both", (Writes, Hook), {})(), Writes()
    reference = Reference.from_cfg(Config(config(tmp_path / "reference", "Blocks")))
    reference.register_hook(theirs)
    reference.train()
    cfg = config(tmp_path / "ours", Blocks)
    runner = Runner.from_cfg({**cfg, "randomness": {"seed": 3, "stream": "mmengine"}})
    runner.register_hook(ours)
    runner.train()
    assert type(runner.model) is type(reference.model)
    assert ours.losses == theirs.losses
    assert ours.metrics == theirs.metrics
    for name, value in reference.model.state_dict().items():
        assert torch.equal(value, runner.model.state_dict()[name]), name
