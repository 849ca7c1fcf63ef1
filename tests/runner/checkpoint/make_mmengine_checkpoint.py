"""Writes `mmengine_0_10_7.pth` beside this file: six iterations of a tiny model under MMEngine 0.10.7.

Needs an environment with mmengine (the parity one); the file itself is committed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, image, target, mode):
        return {"loss": (self.norm(self.conv(image)).mean(1) - target).square().mean()}


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(8, 1, 2, 2), torch.randn(8, 2, 2))
    folder = Path(tempfile.mkdtemp())
    runner = Runner(
        model=Tiny(),
        work_dir=str(folder),
        train_dataloader=DataLoader(data, 2),
        train_cfg={"by_epoch": False, "max_iters": 6},
        optim_wrapper={
            "optimizer": {"type": "Adam", "lr": 0.1, "weight_decay": 0.01},
            "paramwise_cfg": {"norm_decay_mult": 0.0},
        },
        param_scheduler={"type": "PolyLR", "by_epoch": False, "begin": 0, "end": 12},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 6, "by_epoch": False}},
        custom_hooks=[{"type": "EMAHook"}],
        randomness={"seed": 3},
    )
    runner.message_hub.update_info("best_score", np.float32(0.5))
    runner.train()
    shutil.copy(folder / "iter_6.pth", Path(__file__).with_name("mmengine_0_10_7.pth"))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
