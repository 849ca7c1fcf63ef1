"""What a step costs above bare DDP on several processes: ours, MMEngine, accelerate, Fabric (those that are installed).

Run with `./run parity:bench ranks`. The net and the data of `loop.py`; 1, 2 and 4 processes of this machine, gloo, one
torch thread each. In every process each loop runs in a thread of its own, all over one process group, and they take
turns of 50 steps in the same order on all ranks: a machine that is busy, or whose speed wavers, slows all of them
alike. Medians over the turns of the difference to the bare loop's turn beside it. `us above`: CPU time of the thread
that trains, as the mean over the ranks, with the quarters between which half of the differences lie; `process`: of the
whole process, whose gloo threads send what the loop gives them; `wall`: by the clock, which holds the waiting
for the other ranks. The two last waver much where there are more ranks than idle cores. `bare DDP again` shows how
much of each is chance.

The hand loops of accelerate and Fabric log nothing; ours and MMEngine's log every 50 steps with all default hooks.
Ours runs in the main thread, where it hears signals. On one process ours has no DDP round the model.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _measure import print_table
from loop import Data, Net, SeededData, Turn, endless, ours, seed_all
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

Found = dict[str, tuple[list[float], list[float], list[float]]]
"""By the name of a loop, turn by turn, the seconds of a step: CPU time of the thread, of the process, and wall time."""
BARE, HERE = "bare DDP", "ours"
"""What the others are compared with, and the loop that the main thread runs."""


class Loss(nn.Module):
    """The net and its criterion, called at once: DDP exchanges gradients for a `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, images: torch.Tensor, labels: torch.Tensor, mode: str = "loss") -> Any:
        """Return the loss of a batch."""
        return self.net.criterion(self.net(images), labels)


def loader(kind: type[Data] = Data) -> DataLoader[Any]:
    """Batches of 2, dealt to the ranks by torch's sampler."""
    data = kind()
    return DataLoader(data, batch_size=2, sampler=DistributedSampler(data))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def bare(turn: Turn, seeds: bool = False) -> None:
    """Go through the shortest loop; with `seeds` each sample and step has random numbers of its own, as ours have."""
    model = DistributedDataParallel(Loss())
    optimizer, batches = sgd(model), endless(loader(SeededData if seeds else Data))
    for step in range(turn.total):
        turn.before_train_iter(None, step)
        images, labels = next(batches)
        if seeds:
            seed_all(1, step)
        model(images, labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def train_state(turn: Turn, folder: Path) -> None:
    """Our hooks in the bare loop."""
    from seg_hooks import LoggerHook, TrainState

    model = DistributedDataParallel(Loss())
    optimizer, step = sgd(model), 0
    with TrainState(model, optimizer, folder, turn.total, hooks=[LoggerHook(turn.every)]) as state:
        turn.before_train_iter(None, step)
        for images, labels in state.batches(loader()):
            loss = model(images, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            state.after_step(loss=loss)
            step += 1
            if step < turn.total:
                turn.before_train_iter(None, step)


def mmengine(turn: Turn, folder: Path) -> None:
    """MMEngine's Runner.

    It hands DDP the number of a device, which DDP refuses on a CPU: so the model comes wrapped in its wrapper.
    """
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel, MMDistributedDataParallel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Loss()

        def forward(self, images: Any, labels: Any, mode: str = "tensor") -> Any:
            return {"loss": self.inner(images, labels)}

    class Turns(Hook):
        priority = turn.priority

        def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
            turn.before_train_iter(*args, **kwargs)

    Runner(
        model=MMDistributedDataParallel(module=Model(), broadcast_buffers=False),
        work_dir=str(folder),
        train_dataloader=loader(),
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        param_scheduler={"type": "PolyLR", "power": 0.9, "begin": 0, "end": turn.total, "by_epoch": False},
        train_cfg={"by_epoch": False, "max_iters": turn.total},
        default_hooks={
            "logger": {"type": "LoggerHook", "interval": turn.every},
            "checkpoint": {"type": "CheckpointHook", "interval": 10**9, "by_epoch": False, "save_last": False},
        },
        custom_hooks=[Turns()],
        launcher="pytorch",
        experiment_name=f"{time.monotonic_ns()}",
        log_level="ERROR",
    ).train()


def accelerate(turn: Turn) -> None:
    """A hand loop with accelerate's objects."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = Loss()
    model, optimizer, batches = accelerator.prepare(model, sgd(model), DataLoader(Data(), batch_size=2, shuffle=True))
    batches = endless(batches)
    for step in range(turn.total):
        turn.before_train_iter(None, step)
        images, labels = next(batches)
        accelerator.backward(model(images, labels))
        optimizer.step()
        optimizer.zero_grad()


def fabric(turn: Turn) -> None:
    """A hand loop with the objects of Lightning Fabric."""
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", strategy="ddp", devices=distributed.get_world_size())
    fabric.launch()
    model = Loss()
    model, optimizer = fabric.setup(model, sgd(model))
    batches = endless(fabric.setup_dataloaders(DataLoader(Data(), batch_size=2, shuffle=True)))
    for step in range(turn.total):
        turn.before_train_iter(None, step)
        images, labels = next(batches)
        fabric.backward(model(images, labels))
        optimizer.step()
        optimizer.zero_grad()


def loops(folder: Path) -> dict[str, Callable[[Turn], object]]:
    """Return the loops by name: ours, and those of the peers that are installed."""
    places = iter(range(100))

    def own() -> Path:
        return folder / str(next(places))

    if importlib.util.find_spec("mmseg"):  # no build of torchvision, which the peers import, fits the newest torch
        from seg_engine.mmseg import prepare

        prepare()
    found: dict[str, Callable[[Turn], object]] = {
        BARE: bare,
        "bare DDP again": bare,
        "bare DDP, seeding each sample and step": lambda turn: bare(turn, seeds=True),
        HERE: lambda turn: ours(turn, own()),
        "ours, stream=mmengine": lambda turn: ours(turn, own(), stream="mmengine"),
        "ours, TrainState": lambda turn: train_state(turn, own()),
    }
    peers: dict[str, Callable[[Turn], object]] = {
        "mmengine": lambda turn: mmengine(turn, own()),
        "accelerate": accelerate,
        "lightning": fabric,
    }
    return found | {name: loop for name, loop in peers.items() if importlib.util.find_spec(name)}


def on_this_rank(folder: Path, turns: int, every: int) -> Found:
    """Run all loops in turn on this rank; return what was found."""
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False
    warnings.simplefilter("ignore")
    distributed.init_process_group("gloo")
    threads = {name: Turn(loop, 0, turns, every, started=name != HERE) for name, loop in loops(folder).items()}

    def take_turns() -> None:
        try:
            names = list(threads)
            for number in range(turns + 2):
                first = number % len(names)
                for name in names[first:] + names[:first]:
                    threads[name].take()
        except BaseException:  # the main thread, and the other ranks, wait for their turn
            traceback.print_exc()
            os._exit(1)

    chosen = threading.Thread(target=take_turns)
    chosen.start()
    threads[HERE].run()
    chosen.join()
    distributed.destroy_process_group()
    return {name: (turn.own[-turns:], turn.spent[-turns:], turn.walls[-turns:]) for name, turn in threads.items()}


def work(folder: Path, turns: int, every: int) -> None:
    """Measure as one rank, which the environment names; rank 0 writes what all have found."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = on_this_rank(folder, turns, every)
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))


def measure(world: int, turns: int, every: int) -> list[Found]:
    """Return what each of so many ranks has found.

    Raises:
        RuntimeError: a rank has failed; the message has what it printed.
    """
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    sizes = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "TORCHELASTIC_RUN_ID": "ranks"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, __file__, "--turns", str(turns), "--every", str(every), "--folder", name]
        ranks = []
        for rank in range(world):
            own = {**os.environ, **told, **sizes, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
            with (folder / f"rank{rank}.log").open("w") as log:
                ranks.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))
        try:
            while any(process.poll() is None for process in ranks) and not any(process.poll() for process in ranks):
                time.sleep(0.1)
        finally:
            for process in ranks:
                process.kill()
                process.wait()
        for rank, process in enumerate(ranks):
            if process.returncode > 0:
                raise RuntimeError(f"rank {rank} of {world}:\n{(folder / f'rank{rank}.log').read_text()}")
        return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]


def rows_of(found: list[Found]) -> tuple[float, list[list[str]]]:
    """Return the CPU seconds of the bare step, and a row for each loop."""

    def mean(name: str, kind: int) -> list[float]:
        return [statistics.mean(turn) for turn in zip(*(rank[name][kind] for rank in found), strict=True)]

    def above(name: str, kind: int) -> list[float]:
        return [own - bare for own, bare in zip(mean(name, kind), mean(BARE, kind), strict=True)]

    bare, rows = statistics.median(mean(BARE, 0)), []
    for name in found[0]:
        low, middle, high = statistics.quantiles(above(name, 0), n=4)
        others = statistics.median(above(name, 1)), statistics.median(above(name, 2))
        shown = (f"{1e6 * value:.0f}" for value in (middle, low, high, *others))
        rows.append([name, *shown, f"{1 + middle / bare:.3f}"])
    return bare, rows


def main() -> None:
    """Print a table for each number of ranks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 4], help="how many ranks (default: 1 2 4)")
    parser.add_argument("--turns", type=int, default=20, help="of each loop; one before them is not measured")
    parser.add_argument("--every", type=int, default=50, help="steps of a turn")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of a rank
    options = parser.parse_args()
    if options.folder:
        work(options.folder, options.turns, options.every)
        return
    for name in ("mmengine", "accelerate", "lightning"):
        if not importlib.util.find_spec(name):
            print(f"{name} is not installed here: left out")
    for world in options.worlds:
        base, rows = rows_of(measure(world, options.turns, options.every))
        title = f"{world} {'rank' if world == 1 else 'ranks'}; {BARE}: {1e6 * base:.0f} us of CPU time a step"
        print_table(title, ["", "us above", "from", "to", "process", "wall", "x"], rows)


if __name__ == "__main__":
    main()
