"""A whole run reads nothing back from the device between its log lines, and its memory does not grow."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from seg_runner import IoUMetric, Runner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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


def watched_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, masks, ignore_index=255).as_subclass(Watched)


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    data = TensorDataset(torch.randn(8, 3, 4, 4), torch.randint(0, 3, (8, 4, 4)))
    return DataLoader(data, batch_size=4, shuffle=True), DataLoader(data, batch_size=4)


class Reads:
    """Writes down how many reads there were before each step."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def before_train_iter(self, runner: Any) -> None:
        self.counts.append(len(Watched.reads))


def test_values_are_read_once_a_log_line(tmp_path: Path) -> None:
    net, reads = nn.Conv2d(3, 3, 1), Reads()
    Watched.reads = []
    runner = Runner(
        model=net,
        loss=watched_loss,
        train_dataloader=loaders()[0],
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        train_cfg={"max_iters": 100},
        log_interval=25,
        custom_hooks=[reads],
        work_dir=str(tmp_path),
    )
    runner.train()
    changes = [index for index in range(1, 100) if reads.counts[index] != reads.counts[index - 1]]
    assert changes == [25, 50, 75]
    assert Watched.reads.count("tolist") == 4
    assert set(Watched.reads) == {"tolist"}


def resident() -> float:
    """Megabytes that this process keeps in memory; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0.0
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def grown_in_a_run(work_dir: str) -> dict[str, float]:
    """How much more there is after 2,000 steps and 20 validations."""
    net = nn.Conv2d(3, 3, 1)
    data = TensorDataset(torch.randn(8, 3, 16, 16), torch.randint(0, 3, (8, 16, 16)))
    seen: dict[str, list[float]] = {"objects": [], "tensors": [], "resident": []}

    class Memory:
        priority = "LOWEST"

        def after_train_iter(self, runner: Any) -> None:
            if runner.iter in (199, 2199):  # just after a log line, when nothing waits to be read
                gc.collect()
                seen["tensors"].append(sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()))
                seen["objects"].append(tracemalloc.get_traced_memory()[0])
                seen["resident"].append(resident())

    tracemalloc.start()
    Runner(
        model=net,
        loss=nn.CrossEntropyLoss(ignore_index=255),
        train_dataloader=DataLoader(data, batch_size=4, shuffle=True),
        val_dataloader=DataLoader(data, batch_size=4),
        val_evaluator=IoUMetric(num_classes=3),
        optim_wrapper=torch.optim.SGD(net.parameters(), 0.1),
        train_cfg={"max_iters": 2200, "val_interval": 100},
        log_interval=50,
        custom_hooks=[Memory()],
        work_dir=work_dir,
    ).train()
    return {name: after - before for name, (before, after) in seen.items()}


def test_memory_does_not_grow_with_steps_and_validations(tmp_path: Path) -> None:
    """In a process of its own: what other tests left behind would be counted, too."""
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout.splitlines()[-1])
    assert grown["objects"] < 1_000_000
    assert grown["tensors"] <= 20
    assert grown["resident"] < 5


if __name__ == "__main__":
    print(json.dumps(grown_in_a_run(sys.argv[1])))
