"""Steps of a run while a checkpoint is on its way to an address, and of the same run while none is.

Run with `./run bench remote`. The address is an FTP server in a process of its own, which takes so many megabytes a
second (`--rate`), as a network does, and shares the cores; checkpoints are written beside training. The steps of one
run are compared with each other, by the first decile of their times, which what else this machine does disturbs least;
those in which a checkpoint is written to the local disk are left out. It needs pyftpdlib, as the tests do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from _measure import print_table
from seg_hooks import CheckpointHook
from seg_runner import Runner
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.ftp import FTPServer


class Clock:
    """Keeps the time of each step, and whether a file was on its way when it began and when it ended."""

    priority = 100

    def __init__(self) -> None:
        self.busy: list[float] = []
        self.idle: list[float] = []
        self.begin = 0.0
        self.sending = False

    def before_train_iter(self, runner: Any) -> None:
        """Begin a step."""
        self.sending = on_its_way(runner)
        self.begin = time.perf_counter()

    def after_train_iter(self, runner: Any) -> None:
        """End it."""
        spent, sending = time.perf_counter() - self.begin, on_its_way(runner)
        saves = any(thread.name.startswith("save ") for thread in threading.enumerate())  # beside training, to the disk
        if runner.iter > 20 and sending == self.sending and not saves:
            (self.busy if sending else self.idle).append(spent)


def on_its_way(runner: Any) -> bool:
    """Tell whether a file is being sent."""
    folder = runner.remote.copy.sending
    return folder.exists() and bool(os.listdir(folder))


def steps(options: argparse.Namespace, size: int) -> Clock:
    """Train at an address with checkpoints of so many megabytes."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 3, 1))
    net.register_buffer("ballast", torch.randn(size * 2**18))
    batch = (torch.randn(4, 3, 112, 112), torch.randint(0, 3, (4, 112, 112)))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        server = FTPServer(Path(folder) / "served", limit=int(options.rate * 2**20))
        try:
            Runner(
                model=net,
                loss=nn.CrossEntropyLoss(),
                train_dataloader=[batch] * options.steps,
                optim_wrapper=torch.optim.SGD(net.parameters(), lr=0.01),
                train_cfg={"max_iters": options.steps},
                work_dir=server.address,
                remote={"cache_dir": folder, "interval": 600},
                hooks=[CheckpointHook(interval=options.interval, by_epoch=False, max_keep_ckpts=2), clock],
                checkpoint={"async_save": True},
                log_level="ERROR",
                skip_checks=True,
            ).train()
        finally:
            server.stop()
    return clock


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--interval", type=int, default=100, help="steps between two checkpoints")
    parser.add_argument("--rate", type=float, default=3.0, help="megabytes a second that the server takes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4], help="megabytes of a checkpoint")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size in options.sizes:
        clock = steps(options, size)
        busy, idle = (statistics.quantiles(each, n=10)[0] * 1e3 for each in (clock.busy, clock.idle))
        counts = f"{len(clock.busy)} of {len(clock.busy) + len(clock.idle)}"
        rows.append([f"{size} MB", counts, f"{idle:.2f}", f"{busy:.2f}", f"{(busy / idle - 1) * 100:+.1f} %"])
    title = f"Steps while a checkpoint is on its way, at {options.rate:g} MB/s (ms, first deciles)"
    print_table(title, ["checkpoint", "steps meanwhile", "no file on its way", "a file on its way", "more"], rows)


if __name__ == "__main__":
    main()
