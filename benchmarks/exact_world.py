"""What the same bits on any number of processes cost, where each process is one virtual rank: against plain DDP.

Run with `./run python benchmarks/exact_world.py`. A net of 1.2 million weights with batch norm and AdamW, gloo, one
torch thread in each process; a forward pass waits `--wait` milliseconds besides, as a larger net on an accelerator
would. Both go on in the same processes and take turns of 10 steps, so a machine that wavers slows both alike. Printed
are the medians over the turns of a step, by the clock and of the process's CPU time, and of the difference within a
pair of turns, with the quarters between which half of them lie.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from seg_optim import OptimWrapper
from seg_runner import LogitsModel
from seg_runner.distributed.ddp import ReplicatedModel
from seg_runner.distributed.virtual.world import ExactWorld, RankBatches
from seg_runner.distributed.world import adopt_world
from torch import distributed, nn

EVERY = 10
"""Steps of a turn."""


class Waiting(nn.Module):
    """A net that takes its time in the forward pass; sleeping, so that ranks do not take it from one another."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 128, 3, stride=8, padding=1), nn.BatchNorm2d(128), nn.ReLU()]
        for _ in range(8):
            layers += [nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Conv2d(128, 5, 1))
        self.seconds = seconds

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        time.sleep(self.seconds)
        logits: torch.Tensor = self.net(images)
        return logits


def model_of(seconds: float) -> tuple[LogitsModel, OptimWrapper]:
    """Return a model and its optimizer."""
    torch.manual_seed(0)
    model = LogitsModel(Waiting(seconds), nn.CrossEntropyLoss())
    return model, OptimWrapper(torch.optim.AdamW(model.parameters(), 1e-4), clip_grad={"max_norm": 1.0})


def work(rank: int, size: int, port: int, turns: int, seconds: float, found: Any) -> None:
    """Measure on one rank; rank 0 hands back the seconds of a step, turn by turn, of both."""
    told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {**{name: str(value) for name, value in told.items()}, "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    world = adopt_world({"backend": "gloo"}, "cpu")
    batch = torch.randn(2, 3, 32, 32), torch.randint(0, 5, (2, 32, 32))
    plain, wrapper = model_of(seconds)
    ddp = ReplicatedModel(plain)
    model, own = model_of(seconds)
    exact = ExactWorld(size).wrap(model, world, torch.device("cpu"))
    steps: dict[str, Callable[[], object]] = {
        "ddp": lambda: ddp.train_step(batch, wrapper),
        "exact": lambda: exact.train_step(RankBatches([batch]), own),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(turns + 2):
        for name in list(steps)[:: 1 if turn % 2 else -1]:
            distributed.barrier()
            start, own_start = time.perf_counter(), time.process_time()
            for _ in range(EVERY):
                steps[name]()
            spent[name].append(((time.perf_counter() - start) / EVERY, (time.process_time() - own_start) / EVERY))
    if rank == 0:
        found.put({name: times[2:] for name, times in spent.items()})
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    """Print what a step takes by either."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4], help="virtual ranks, and processes")
    parser.add_argument("--turns", type=int, default=20, help=f"of {EVERY} steps of each")
    parser.add_argument("--wait", type=float, default=20.0, help="milliseconds that a forward pass waits")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for size in options.ranks:
        store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
        found: Any = context.Queue()
        told = (size, store.port, options.turns, options.wait / 1000, found)
        ranks = [context.Process(target=work, args=(rank, *told)) for rank in range(size)]
        for process in ranks:
            process.start()
        times = found.get()
        for process in ranks:
            process.join()
        for kind, what in enumerate(("by the clock", "of CPU time")):
            ddp, exact = ([1000 * turn[kind] for turn in times[name]] for name in ("ddp", "exact"))
            pairs = [own - other for own, other in zip(exact, ddp, strict=True)]
            low, middle, high = statistics.quantiles(pairs, n=4)
            medians = f"ddp {statistics.median(ddp):.2f} ms a step, exact {statistics.median(exact):.2f} ms"
            print(f"{size} ranks, {what}: {medians}; in pairs {middle:+.2f} ms ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
