"""What could grow with a run, its files or its tensors, each at several sizes: process CPU time, one torch thread.

python benchmarks/growth.py [--rounds N]

The first two tables stand beside the bare form (`torch.save`, `torch.load`, one multi-tensor lerp) in turns; the others
compare a size with the smallest one. Files lie in memory where the system has such a folder, as a disk's own time is
not what grows here.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _measure import block, paired, print_table, ratios
from seg_hooks import CheckpointHook, ExponentialMovingAverage, LoggerHook
from seg_optim import build_optim_wrapper
from seg_runner import MessageHub, Runner, find_resumable
from seg_runner.checkpoint.read import read_checkpoint
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.hooks.table import HookTable
from torch import nn

FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SAVES = 200


def many(tensors: int) -> dict[str, object]:
    """A checkpoint of as many small tensors."""
    weights = {f"layer{number}.weight": torch.randn(64) for number in range(tensors)}
    return {"meta": {"iter": 1, "epoch": 0}, "state_dict": weights}


def files(folder: Path, tensors: int, rounds: int) -> list[str]:
    """Saving and loading as many small tensors, beside torch."""
    state, ours, bare = many(tensors), folder / "ours.pth", folder / "bare.pth"
    sides = {
        "torch.save": lambda: torch.save(state, bare),
        "save": lambda: write_checkpoint(ours, state),
        "torch.load": lambda: torch.load(bare, weights_only=True),
        "load": lambda: read_checkpoint(ours),
    }
    found = paired({name: block(run) for name, run in sides.items()}, rounds)
    saving, loading = ratios(found, "torch.save")["save"], ratios(found, "torch.load")["load"]
    millis = [f"{1e3 * statistics.median(found[name]):.2f}" for name in sides]
    return [f"{tensors:,}", *millis[:2], f"{saving:.2f}", *millis[2:], f"{loading:.2f}"]


def averages(tensors: int, rounds: int) -> list[str]:
    """One update of an average of as many tensors, beside one lerp."""
    net = nn.ParameterList(torch.randn(64) for _ in range(tensors))
    sources = [parameter.detach() for parameter in net]
    kept, ours = [source.clone() for source in sources], ExponentialMovingAverage(net)
    ours.update_parameters(net)
    with torch.no_grad():
        sides = {
            "bare": block(lambda: torch._foreach_lerp_(kept, sources, 0.0002)),
            "ours": block(lambda: ours.update_parameters(net)),
        }
        found = paired(sides, rounds)
    micros = [f"{1e6 * statistics.median(times):.1f}" for times in found.values()]
    return [f"{tensors:,}", *micros, f"{ratios(found, 'bare')['ours']:.2f}"]


class Net(nn.Module):
    """One layer, with the step that the loop calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def train_step(self, data: torch.Tensor, optim_wrapper: object) -> dict[str, torch.Tensor]:
        """Forward, loss, update."""
        loss = self.layer(data).mean()
        optim_wrapper.update_params(loss)  # type: ignore[attr-defined]
        return {"loss": loss.detach()}


class Timed(CheckpointHook):
    """Keeps the CPU time of each save."""

    def __init__(self, spent: list[float], keep: int) -> None:
        super().__init__(1, by_epoch=False, max_keep_ckpts=keep)
        self.spent = spent

    def after_train_iter(self, *args: object, **keywords: object) -> None:
        """Save."""
        start = time.process_time()
        super().after_train_iter(*args, **keywords)  # type: ignore[arg-type]
        self.spent.append(time.process_time() - start)


def saves(folder: Path, keep: int) -> list[str]:
    """Milliseconds of a save, by quarters of a run that saves after each step."""
    net, spent = Net(), list[float]()
    wrapper = build_optim_wrapper(net, {"optimizer": {"type": "SGD", "lr": 0.1}})
    Runner(
        model=net,
        work_dir=folder / f"run{keep}",
        optim_wrapper=wrapper,
        train_dataloader=[torch.ones(2, 4)] * SAVES,
        train_cfg={"max_iters": SAVES, "by_epoch": False},
        hooks=[LoggerHook(interval=10), Timed(spent, keep)],
    ).train()
    quarter = SAVES // 4
    millis = [1e3 * statistics.median(spent[start : start + quarter]) for start in range(0, SAVES, quarter)]
    name = "all files kept" if keep < 0 else f"{keep} files kept"
    return [name, *(f"{one:.2f}" for one in millis), f"{millis[-1] / millis[0]:.2f}"]


def grown(name: str, sizes: tuple[int, ...], make: Callable[[int], Callable[[], object]], rounds: int) -> list[str]:
    """Microseconds of the same work at several sizes, and the last over the first."""
    found = paired({str(size): block(make(size)) for size in sizes}, rounds)
    micros = [f"{size:,}: {1e6 * statistics.median(found[str(size)]):.1f}" for size in sizes]
    return [name, *micros, f"{ratios(found, str(sizes[0]))[str(sizes[-1])]:.2f}"]


def hub(updates: int) -> Callable[[], object]:
    """One more scalar, after so many."""
    made = MessageHub()
    for _ in range(updates):
        made.update_scalar("train/loss", 0.5)
    return lambda: made.update_scalar("train/loss", 0.5)


def registered(hooks: int) -> Callable[[], object]:
    """Register as many hooks of a class."""

    def register() -> None:
        table = HookTable(None)
        for _ in range(hooks):
            table.add(LoggerHook())

    return register


def looked_for(folder: Path, count: int) -> Callable[[], object]:
    """Find the newest of as many checkpoints."""
    place = folder / f"files{count}"
    for number in range(1, count + 1):
        write_checkpoint(place / f"iter_{number}.pth", {"meta": {"iter": number}, "state_dict": {}, "optimizer": {}})
    return lambda: find_resumable(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        header = ["tensors", "torch.save ms", "ours ms", "x", "torch.load ms", "ours, verified ms", "x"]
        rows = [files(folder, tensors, rounds) for tensors in (4, 100, 1000, 10_000)]
        print_table("a checkpoint of small tensors", header, rows)
        rows = [averages(tensors, rounds) for tensors in (10, 100, 1000)]
        print_table("an update of an average", ["tensors", "one lerp us", "ours us", "x"], rows)
        quarters = [f"{start + 1}-{start + SAVES // 4}" for start in range(0, SAVES, SAVES // 4)]
        rows = [saves(folder, keep) for keep in (3, -1)]
        print_table(f"ms of a save, in a run that saves {SAVES} times", ["", *quarters, "last / first"], rows)
        rows = [
            grown("a scalar, after so many", (10, 1000, 100_000), hub, rounds),
            grown("registering so many hooks", (1, 10, 50), registered, rounds),
            grown("find_resumable, so many files", (10, 100, 500), lambda n: looked_for(folder, n), rounds),
        ]
        print_table("microseconds", ["", "small", "larger", "large", "large / small"], rows)


if __name__ == "__main__":
    main()
