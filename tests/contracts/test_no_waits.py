"""With all default hooks, gradient clipping and EMA, a step reads nothing back; a log line reads everything at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from helpers.tiny import config
from seg_runner import Runner

READS = {"item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__", "__array__", "__format__"}


class Watched(torch.Tensor):
    """A tensor that writes down each time its value is brought over to the host."""

    reads: list[str] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in READS:
            cls.reads.append(name)
        return super().__torch_function__(func, types, args, kwargs or {})


class Reads:
    """Writes down how many reads there were before each step."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def before_train_iter(self, runner: Any) -> None:
        self.counts.append(len(Watched.reads))


def test_steps_between_log_lines_read_nothing(tmp_path: Path) -> None:
    cfg, reads = config(tmp_path / "work"), Reads()
    cfg["train_cfg"] = {"by_epoch": False, "max_iters": 60, "val_interval": 1000}
    cfg["default_hooks"] = {
        "logger": {"type": "LoggerHook", "interval": 20},
        "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 1000},
    }
    cfg["model"]["loss"] = lambda logits, masks: F.cross_entropy(logits, masks, ignore_index=255).as_subclass(Watched)
    Watched.reads = []
    runner = Runner.from_cfg(cfg)
    runner.register_hook(reads)
    runner.train()
    changes = [index for index in range(1, 60) if reads.counts[index] != reads.counts[index - 1]]
    assert changes == [20, 40]
    assert reads.counts[40] - reads.counts[39] == 1
