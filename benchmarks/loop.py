"""What a training iteration costs above the bare loop: by hand, ours, and that of six peers.

Run with `./run bench loop --peers`. Two convolutions on 8 x 8, batch 2, SGD, PolyLR each iteration, a record every 50;
process CPU time, in turns of 50 iterations (with 376 tensors: of 2). oneDNN is off: on images this small its kernels
can waver by more than all that is measured here. `--length N` compares ours with itself after N iterations, which takes
minutes. Peers: `_loop_peers.py`. Without workers the main process seeds generators for each sample and each step
(`stream='sample'`): a loop by hand that seeds all three each time stands beside ours.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import _loop_peers as peers
import numpy as np
import torch
from _contest import Contest, Contestant, Goal, main
from _measure import print_table
from torch import nn
from torch.utils.data import DataLoader

Loop = Callable[["Turn"], object]
EVERY = 50
TURNS = 60
"""So many turns are measured (of slow models a third); one before them is not."""


class Data(torch.utils.data.Dataset):
    """Images that lie there already: what is measured is the loop."""

    def __init__(self) -> None:
        self.items = [(torch.randn(3, 8, 8), torch.randint(0, 4, (8, 8))) for _ in range(640)]

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
    """SGD; for many tensors fused AdamW, with the two groups that `norm_decay_mult=0` makes."""
    if not isinstance(net, Blocks):
        return torch.optim.SGD(net.parameters(), lr=0.1)
    norms = [p for m in net.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()]
    others = [p for p in net.parameters() if not any(p is norm for norm in norms)]
    groups = [{"params": others, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-4, fused=True)


@dataclass(frozen=True)
class Options:
    """What a loop does besides."""

    make: type[Net] = Net
    ema: bool = False
    amp: bool = False


PLAIN = Options()
KINDS = {"EMA": Options(ema=True), "AMP": Options(amp=True), "376 tensors": Options(make=Blocks)}


class Turn:
    """A loop that goes on for EVERY iterations when it is its turn; a hook of ours and of MMEngine's.

    With `started=False` it waits for `run` to be called, in whatever thread.
    """

    priority = "HIGHEST"

    def __init__(self, loop: Loop, length: int, turns: int, every: int = EVERY, started: bool = True) -> None:
        self.total = length + (turns + 1) * every + 1
        self.first, self.every = length, every
        self.spent: list[float] = []
        self.own: list[float] = []
        self.walls: list[float] = []
        self._start = self._own = self._wall = 0.0
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._loop = loop
        if started:
            threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Wait for the first turn, and go through the loop to its end."""
        torch.set_num_threads(1)
        self._go.acquire()
        try:
            self._loop(self)
        except BaseException as error:
            self._error = error
        self._back.release()

    def take(self) -> None:
        """Let the loop go on until its next turn begins, or it ends."""
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Let the others go on after each turn."""
        done = batch_idx - self.first
        if done < 0 or done % self.every:
            return
        self.spent.append((time.process_time() - self._start) / self.every)
        self.own.append((time.thread_time() - self._own) / self.every)
        self.walls.append((time.perf_counter() - self._wall) / self.every)
        if batch_idx + 1 < self.total:
            self._back.release()
            self._go.acquire()
        self._start, self._own, self._wall = time.process_time(), time.thread_time(), time.perf_counter()


def loader(kind: type[Data] = Data) -> DataLoader[Any]:
    return DataLoader(kind(), batch_size=2, shuffle=True)


def endless(batches: Any) -> Any:
    while True:
        yield from batches


def by_hand(turn: Turn, full: bool, seeds: bool = False, options: Options = PLAIN) -> None:
    """The shortest loop; `full` adds what our default hooks do: schedule, times, eta, a JSON record.

    `seeds`: with random numbers of their own for each sample and step.
    """
    net = options.make()
    optimizer = optimizer_of(net)
    rate = optimizer.param_groups[0]["lr"]
    average = [p.detach().clone() for p in net.parameters()]
    source = [p.detach() for p in net.parameters()]
    out, batches = io.StringIO(), endless(loader(SeededData if seeds else Data))
    last, losses = time.perf_counter(), []
    for step in range(turn.total):
        turn.before_train_iter(None, step)
        images, labels = next(batches)
        if seeds:
            seed_all(1, step)
        waited = time.perf_counter() - last
        with torch.autocast("cpu", torch.bfloat16) if options.amp else contextlib.nullcontext():
            loss = net.criterion(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if options.ema:
            torch._foreach_lerp_(average, source, 0.0002)
        if full:
            now = time.perf_counter()
            spent, last = now - last, now
            losses.append((loss.detach(), spent, waited))
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / turn.total) ** 0.9
            if step % EVERY == EVERY - 1:
                values = torch.stack([entry[0] for entry in losses[-10:]]).mean().item()
                record = {"lr": optimizer.param_groups[0]["lr"], "loss": values, "time": spent, "data_time": waited}
                out.write(json.dumps({**record, "eta": spent * (turn.total - step), "step": step}) + "\n")
                losses.clear()


def ours(turn: Turn, folder: Path, stream: str = "sample", options: Options = PLAIN) -> None:
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

    net = options.make()
    optimizer = optimizer_of(net)
    wrapper = AmpOptimWrapper(optimizer=optimizer, dtype="bfloat16") if options.amp else OptimWrapper(optimizer)
    hooks = [RuntimeInfoHook(), IterTimerHook(), DistSamplerSeedHook(), LoggerHook(interval=EVERY)]
    hooks += [ParamSchedulerHook(), CheckpointHook(interval=10**9, by_epoch=False, save_last=False), turn]
    Runner(
        model=net,
        train_dataloader=loader(),
        optim_wrapper=wrapper,
        param_scheduler=PolyLR(optimizer, power=0.9, begin=0, end=turn.total, by_epoch=False),
        train_cfg={"max_iters": turn.total},
        hooks=[*hooks, *([EMAHook()] if options.ema else [])],
        work_dir=folder,
        randomness={"stream": stream, "seed": 0},
    ).train()


def measure(loops: dict[str, Loop], lengths: dict[str, int], turns: int) -> dict[str, list[float]]:
    """Seconds of an iteration in each turn of each loop."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        threads = {name: Turn(loop, lengths.get(name, 0), turns) for name, loop in loops.items()}
        names = list(loops)
        for number in range(turns + 2):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                threads[name].take()
    return {name: thread.spent[-turns:] for name, thread in threads.items()}


def print_group(title: str, loops: dict[str, Loop], lengths: dict[str, int] | None = None, turns: int = TURNS) -> None:
    """Measure some loops in turn; the first is what the others are compared with."""
    found = measure(loops, lengths or {}, turns)
    base = next(iter(loops))
    bare = statistics.median(found[base])
    rows = []
    for name, times in found.items():
        above = [own - other for own, other in zip(times, found[base], strict=True)]
        low, middle, high = statistics.quantiles(above, n=4)
        row = [name, *(f"{1e6 * value:.0f}" for value in (middle, low, high)), f"{1 + middle / bare:.3f}"]
        rows.append(row)
    print_table(f"{title}; {base}: {1e6 * bare:.0f} us", ["", "us above", "from", "to", "x"], rows)


def ours_in(folder: Path, **options: Any) -> Loop:
    """Our loop in a folder of its own."""
    return lambda turn: ours(turn, Path(tempfile.mkdtemp(dir=folder)), **options)


class Turns:
    """The turns of a contest, with the parts of `Turn` that loops use: a hook of ours, and of MMEngine's."""

    priority = Turn.priority

    def __init__(self, turn: Callable[[int], None], count: int, steps: int) -> None:
        self.total = count * steps + 1
        self.every = EVERY  # of the peers' records, as of ours
        self._turn, self._steps = turn, steps

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Give the turn away after so many iterations."""
        if batch_idx % self._steps == 0:
            self._turn(self._steps)


def paced(loop: Callable[..., object], options: Options = PLAIN, **more: Any) -> Callable[[Any], None]:
    """Return a contestant: a loop that is called with its turns, `options` and `more`."""

    def set_up(turn: Any) -> None:
        torch.backends.mkldnn.enabled = False
        turns = Turns(turn, turn.count, 2 if options.make is Blocks else EVERY)
        with contextlib.redirect_stdout(io.StringIO()):
            loop(turns, options=options, **more)

    return set_up


def our(turn: Turn, **more: Any) -> None:
    """Our loop in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        ours(turn, Path(folder), **more)


def contest(title: str, options: Options, goals: Sequence[Goal], rounds: int) -> Contest:
    """Return a contest of one kind of step."""
    loops: dict[str, Contestant | Callable[[Any], None]] = {
        "bare": paced(by_hand, options, full=False),
        "by hand, the same work": paced(by_hand, options, full=True),
        "by hand, seeding each sample and step": paced(by_hand, options, full=True, seeds=True),
        "ours": paced(our, options),
        "ours, stream=mmengine": paced(our, options, stream="mmengine"),
    }
    for name, (loop, needs, environment) in peers.LOOPS.items():
        if name in peers.TAKE_PART[options.ema, options.amp]:
            few = rounds // 3 if name in peers.SLOW else None
            loops[name] = Contestant(paced(loop, options), needs, environment, few)
    return Contest(title, loops, unit="us", rounds=rounds, seconds=17, goals=goals)


BELOW = [Goal("ours", under="ignite"), Goal("ours", under="Fabric")]
CONTESTS = [
    contest("one iteration", PLAIN, [Goal("ours", above=35e-6, why="where bare takes 450 us"), *BELOW], TURNS),
    contest("with EMA", KINDS["EMA"], [], TURNS // 2),
    contest("with AMP", KINDS["AMP"], [], TURNS // 2),
    contest("with 376 tensors", KINDS["376 tensors"], [Goal("ours", above=150e-6)], TURNS),
]


def compare_lengths(length: int) -> None:
    """Print ours beside itself after so many iterations."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False
    with tempfile.TemporaryDirectory() as name:
        late = f"ours after {length} iterations"
        print_group("length", {"ours": ours_in(Path(name)), late: ours_in(Path(name))}, {late: length})


if __name__ == "__main__":
    if "--length" in sys.argv:
        compare_lengths(int(sys.argv[sys.argv.index("--length") + 1]))
    else:
        main(CONTESTS)
