"""What a training iteration costs above the bare loop: by hand, ours, and MMEngine's (where it is installed).

Run with `./run bench loop`. Two convolutions on 8 x 8, batch 2, SGD, PolyLR each iteration, a record every 50; all
in one process, interleaved; process CPU time; medians. `--length N` puts N iterations before the measured ones.
Without workers the main process seeds three generators for each sample and each step (`stream='sample'`): a loop by
hand that does the same stands beside ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import differences, paired, print_table
from torch import nn
from torch.utils.data import DataLoader

WARM, ROUNDS = 60, 5
EVERY = 50


class Data(torch.utils.data.Dataset):
    """Images that lie there already: what is measured is the loop."""

    def __init__(self) -> None:
        self.items = [(torch.randn(3, 8, 8), torch.randint(0, 4, (8, 8))) for _ in range(64)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.items[index]


class SeededData(Data):
    """The same, with random numbers that depend on the sample alone."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        seed_all(0, index)
        return self.items[index]


def seed_all(*key: int) -> None:
    """Seed python's, numpy's and torch's generator from a key."""
    seed = int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little")
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)


class Net(nn.Module):
    """Two convolutions with the steps that loops call."""

    steps = 300
    """So many iterations are measured."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.body(images)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """Forward, loss, update."""
        with optim_wrapper.optim_context(self):
            loss = self.criterion(self(data[0]), data[1])
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}


class Blocks(Net):
    """As many tensors as Swin-B has (376), cut to at most 64 numbers: what is left is work per module and tensor."""

    steps = 100

    def __init__(self) -> None:
        super().__init__()
        blocks = [nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)) for _ in range(93)]
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.Flatten(2), *blocks, nn.Unflatten(2, (8, 8)), nn.Conv2d(8, 4, 1)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        first, flat, *blocks, fold, last = self.body
        features = flat(first(images)).transpose(1, 2)
        for block in blocks:
            features = block(features)
        return last(fold(features.transpose(1, 2)))


def optimizer_of(net: Net) -> torch.optim.Optimizer:
    """SGD; for many tensors AdamW, with the two groups that `norm_decay_mult=0` makes."""
    if not isinstance(net, Blocks):
        return torch.optim.SGD(net.parameters(), lr=0.1)
    norms = [p for m in net.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()]
    others = [p for p in net.parameters() if not any(p is norm for norm in norms)]
    groups = [{"params": others, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-4)


class Clock:
    """A hook that takes the time between two iterations."""

    priority = "HIGHEST"

    def __init__(self, first: int, steps: int = Net.steps) -> None:
        self.first, self.last, self.start, self.spent = first, first + steps, 0.0, 0.0

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Start, or stop."""
        if batch_idx == self.first:
            self.start = time.process_time()
        elif batch_idx == self.last:
            self.spent = (time.process_time() - self.start) / (self.last - self.first)


def loader(kind: type[Data] = Data) -> DataLoader[Any]:
    return DataLoader(kind(), batch_size=2, shuffle=True)


def endless(batches: Any) -> Any:
    while True:
        yield from batches


def by_hand(*, full: bool, seeds: bool = False, ema: bool = False, amp: bool = False, make: type[Net] = Net) -> float:
    """The shortest loop; `full` adds what our default hooks do: schedule, times, eta, a JSON record.

    Seconds of an iteration; `seeds`: with random numbers of their own for each sample and step.
    """
    net = make()
    optimizer = optimizer_of(net)
    average = [p.detach().clone() for p in net.parameters()]
    source = [p.detach() for p in net.parameters()]
    out, total = io.StringIO(), WARM + make.steps + 1
    batches = endless(loader(SeededData if seeds else Data))
    last, losses, clock = time.perf_counter(), [], Clock(WARM, make.steps)
    for step in range(total):
        clock.before_train_iter(None, step)
        images, labels = next(batches)
        if seeds:
            seed_all(1, step)
        waited = time.perf_counter() - last
        with torch.autocast("cpu", torch.bfloat16) if amp else contextlib.nullcontext():
            loss = net.criterion(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if ema:
            torch._foreach_lerp_(average, source, 0.0002)
        if full:
            now = time.perf_counter()
            spent, last = now - last, now
            losses.append((loss.detach(), spent, waited))
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (1 - step / total) ** 0.9
            if step % EVERY == EVERY - 1:
                values = torch.stack([entry[0] for entry in losses[-10:]]).mean().item()
                record = {"lr": optimizer.param_groups[0]["lr"], "loss": values, "time": spent, "data_time": waited}
                out.write(json.dumps({**record, "eta": spent * (total - step), "step": step}) + "\n")
                losses.clear()
    return clock.spent


def quiet(train: Callable[[], object]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train()


def ours(
    folder: Path,
    *,
    ema: bool = False,
    amp: bool = False,
    length: int = 0,
    stream: str = "sample",
    make: type[Net] = Net,
) -> float:
    """Runner with the six default hooks, an OptimWrapper and PolyLR."""
    from seg_hooks import (
        CheckpointHook,
        DistSamplerSeedHook,
        EMAHook,
        IterTimerHook,
        LoggerHook,
        ParamSchedulerHook,
        RuntimeInfoHook,
    )
    from seg_optim import AmpOptimWrapper, OptimWrapper, PolyLR
    from seg_runner import Runner

    net, clock, total = make(), Clock(WARM + length, make.steps), length + WARM + make.steps + 1
    optimizer = optimizer_of(net)
    wrapper = AmpOptimWrapper(optimizer=optimizer, dtype="bfloat16") if amp else OptimWrapper(optimizer)
    hooks = [RuntimeInfoHook(), IterTimerHook(), DistSamplerSeedHook(), LoggerHook(interval=EVERY)]
    hooks += [ParamSchedulerHook(), CheckpointHook(interval=10**9, by_epoch=False, save_last=False), clock]
    quiet(
        lambda: Runner(
            model=net,
            train_dataloader=loader(),
            optim_wrapper=wrapper,
            param_scheduler=PolyLR(optimizer, power=0.9, begin=0, end=total, by_epoch=False),
            train_cfg={"max_iters": total},
            hooks=[*hooks, *([EMAHook()] if ema else [])],
            work_dir=folder,
            randomness={"stream": stream, "seed": 0},
        ).train()
    )
    return clock.spent


def mmengine(folder: Path, *, ema: bool = False, length: int = 0) -> float:
    """MMEngine's Runner with the same parts. It asks for torchvision, of which no build fits the newest torch."""
    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, images: Any, labels: Any, mode: str = "tensor") -> Any:
            return {"loss": self.net.criterion(self.net(images), labels)}

    class Timed(Clock, Hook):
        pass

    clock, total = Timed(WARM + length), length + WARM + Net.steps + 1
    quiet(
        lambda: Runner(
            model=Model(),
            work_dir=str(folder),
            train_dataloader=loader(),
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
            param_scheduler={"type": "PolyLR", "power": 0.9, "begin": 0, "end": total, "by_epoch": False},
            train_cfg={"by_epoch": False, "max_iters": total},
            default_hooks={
                "logger": {"type": "LoggerHook", "interval": EVERY},
                "checkpoint": {"type": "CheckpointHook", "interval": 10**9, "by_epoch": False, "save_last": False},
            },
            custom_hooks=[clock, *([{"type": "EMAHook"}] if ema else [])],
            experiment_name=f"{time.monotonic_ns()}",
            log_level="ERROR",
        ).train()
    )
    return clock.spent


def print_group(engines: dict[str, Callable[[], float]], title: str) -> None:
    """Measure some engines in turn; the first is the bare loop of the others."""
    found = paired(engines, ROUNDS)
    base = next(iter(engines))
    bare, above = statistics.median(found[base]), differences(found, base)
    rows = [[name, f"{1e6 * above[name]:.0f}", f"{1 + above[name] / bare:.3f}"] for name in engines]
    print_table(f"{title}; bare {1e6 * bare:.0f} us", ["engine", "us above bare", "x bare"], rows)


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    length = int(sys.argv[sys.argv.index("--length") + 1]) if "--length" in sys.argv else 0
    after = f" after {length} iterations" if length else ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engines: dict[str, Callable[[], float]] = {
            "bare": lambda: by_hand(full=False),
            "by hand, the same work": lambda: by_hand(full=True),
            "ours, stream=mmengine": lambda: ours(folder, length=length, stream="mmengine"),
            "by hand, seeding each sample and step": lambda: by_hand(full=True, seeds=True),
            "ours": lambda: ours(folder, length=length),
        }
        if importlib.util.find_spec("mmengine"):
            engines["mmengine"] = lambda: mmengine(folder, length=length)
        else:
            print("mmengine is not installed here: left out")
        print_group(engines, f"one iteration{after}")
        for kind, options in {"EMA": {"ema": True}, "AMP": {"amp": True}, "376 tensors": {"make": Blocks}}.items():
            group: dict[str, Callable[[], float]] = {
                f"bare, {kind}": lambda options=options: by_hand(full=False, **options),
                f"by hand, {kind}": lambda options=options: by_hand(full=True, **options),
                f"ours, {kind}, stream=mmengine": lambda o=options: ours(folder, length=length, stream="mmengine", **o),
                f"ours, {kind}": lambda options=options: ours(folder, length=length, **options),
            }
            print_group(group, f"with {kind}{after}")


if __name__ == "__main__":
    main()
