"""Whether a run grows: resident memory over 2,000 steps and 20 validations; more than 5 MB is a failure.

Run with `./run bench memory`. The first 200 steps and two validations are for caches to fill.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import io
import os
import sys
import tempfile
from typing import Any

import torch
from torch.utils.data import DataLoader

STEPS, EVERY, LIMIT = 2201, 100, 5.0


def resident() -> float:
    """Megabytes that this process keeps in memory."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """A hook that measures before the first and after the last counted step."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.sizes: list[float] = []

    def before_train_iter(self, runner: Any) -> None:
        """Every 200 steps."""
        if runner.iter % 200 == 0:
            self.sizes.append(resident())


def hooks() -> list[Any]:
    """The hooks that a training run has, where they are installed."""
    if importlib.util.find_spec("seg_hooks") is None:
        return []
    from seg_hooks import CheckpointHook, EMAHook, IterTimerHook, LoggerHook, ParamSchedulerHook, RuntimeInfoHook

    saves = CheckpointHook(interval=500, by_epoch=False, max_keep_ckpts=2, save_best="mIoU")
    return [RuntimeInfoHook(), IterTimerHook(), LoggerHook(interval=10), ParamSchedulerHook(), EMAHook(), saves]


def main() -> int:
    """Return 1 if memory grew by more than the limit."""
    from seg_runner import IoUMetric, Runner

    torch.set_num_threads(1)
    data = [(torch.randn(3, 16, 16), torch.randint(0, 4, (16, 16))) for _ in range(32)]
    net, watch = torch.nn.Conv2d(3, 4, 3, padding=1), Watch()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        Runner(
            model=net,
            loss=torch.nn.CrossEntropyLoss(),
            train_dataloader=DataLoader(data, batch_size=4, shuffle=True),
            optim_wrapper=torch.optim.AdamW(net.parameters()),
            val_dataloader=DataLoader(data, batch_size=4),
            val_evaluator=IoUMetric(num_classes=4),
            train_cfg={"max_iters": STEPS, "val_interval": EVERY},
            hooks=[*hooks(), watch],
            work_dir=folder,
        ).train()
    grown = watch.sizes[-1] - watch.sizes[1]
    print(f"resident memory every 200 steps, MB: {', '.join(f'{size:.1f}' for size in watch.sizes)}")
    print(f"grown by {grown:.1f} MB over {STEPS - 201} steps and {(STEPS - 201) // EVERY} validations (limit {LIMIT})")
    return int(grown > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
