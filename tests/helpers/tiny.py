"""A run small enough for a test: an 8x8 segmentation task that two convolutions learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from seg_runner import PixelData, SegDataSample
from torch import nn
from torch.utils.data import Dataset

CLASSES = ("dark", "bright", "line")


class Squares(Dataset[dict[str, Any]]):
    """Images whose label is told by brightness, with ignored borders; shaped as MMSegmentation's datasets are."""

    metainfo = {"classes": CLASSES, "palette": [[10, 10, 10], [200, 200, 0], [0, 90, 200]]}

    def __init__(self, length: int = 12, seed: int = 0) -> None:
        self.length = length
        self.seed = seed
        self.reads = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.reads += 1
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        labels = torch.randint(0, 3, (1, 8, 8), generator=generator)
        image = (labels * 100 + torch.randint(0, 40, (3, 8, 8), generator=generator)).to(torch.uint8)
        labels[..., 0] = 255
        sample = SegDataSample(metainfo={"img_path": f"square_{index}.png", "ori_shape": (8, 8), "img_shape": (8, 8)})
        sample.gt_sem_seg = PixelData(data=labels)
        return {"inputs": image, "data_samples": sample}


class TwoConvolutions(nn.Module):
    """Logits for three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(image))


def model_cfg() -> dict[str, Any]:
    """The tiny model behind seg-runner's adapter."""
    return {
        "type": "LogitsModel",
        "model": TwoConvolutions(),
        "loss": nn.CrossEntropyLoss(ignore_index=255),
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [100.0] * 3,
            "std": [60.0] * 3,
            "size": (8, 8),
        },
    }


def config(work_dir: Path, **changes: Any) -> dict[str, Any]:
    """A whole config in MMSegmentation's dialect."""
    loader = {"dataset": {"type": Squares}, "batch_size": 4, "num_workers": 0}
    cfg = {
        "work_dir": str(work_dir),
        "model": model_cfg(),
        "train_dataloader": {**loader, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        "val_dataloader": {
            **loader,
            "dataset": {"type": Squares, "seed": 1},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
        },
        "val_cfg": {"type": "ValLoop"},
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 6, "val_interval": 3},
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.05},
            "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 10.0}}},
            "clip_grad": {"max_norm": 1.0},
        },
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 2},
            {"type": "PolyLR", "power": 0.9, "by_epoch": False, "begin": 2, "end": 6},
        ],
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": 2, "log_metric_by_epoch": False},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 3, "save_best": "mIoU"},
            "sampler_seed": {"type": "DistSamplerSeedHook"},
            "visualization": {"type": "SegVisualizationHook", "draw": True, "interval": 1},
        },
        "custom_hooks": [{"type": "EMAHook", "start_iters": 2, "priority": "NORMAL"}],
        "vis_backends": [{"type": "LocalVisBackend"}],
        "visualizer": {"type": "SegLocalVisualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
        "log_processor": {"by_epoch": False},
        "randomness": {"seed": 3},
        "default_scope": "mmseg",
    }
    return {**cfg, **changes}
