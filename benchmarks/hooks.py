"""What hooks cost in each step of a hand-written loop: process CPU time above the loop without them.

python benchmarks/hooks.py [--rounds N] [--steps N] [--pause MS]

The bar draws on a real terminal (a pseudo terminal that is read and thrown away). `--pause` sleeps in each step, as a
real step would take time: the slower the steps, the more of the drawing each of them pays.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from _measure import differences, paired, print_table
from seg_hooks import LoggerHook, NanGuardHook, ProgressBarHook, ThroughputHook, TrainState


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Standard output is a terminal that somebody reads."""
    ours, theirs = os.openpty()
    screen = os.fdopen(theirs, "w")

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(ours, 65536):
                pass

    threading.Thread(target=read, daemon=True).start()
    with contextlib.redirect_stdout(screen):
        yield
    screen.close()


def run(hooks: list[Any], steps: int, pause: float) -> float:
    """CPU seconds of a step."""
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    batch, loss = torch.ones(8, 3, 4, 4), torch.ones(())
    with tempfile.TemporaryDirectory() as folder, terminal():
        state = TrainState(net, optimizer, folder, steps, hooks=hooks)
        with state:
            began = time.process_time()
            for _ in state.batches([batch] * 1000):
                state.after_step(loss=loss)
                if pause:
                    time.sleep(pause)
            return (time.process_time() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pause", type=float, default=0.0, help="milliseconds of sleep in each step")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen: dict[str, Any] = {
        "no more hooks": list,
        "ProgressBarHook('rich')": lambda: [ProgressBarHook("rich")],
        "ProgressBarHook('plain')": lambda: [ProgressBarHook("plain")],
        "LoggerHook(50)": lambda: [LoggerHook(50)],
        "NanGuardHook()": lambda: [NanGuardHook()],
        "ThroughputHook()": lambda: [ThroughputHook()],
    }
    sides = {name: lambda make=make: run(make(), options.steps, options.pause / 1e3) for name, make in chosen.items()}
    times = paired(sides, options.rounds)
    above = differences(times, "no more hooks")
    rows = [[name, f"{1e6 * statistics.median(own):.1f}", f"{1e6 * above[name]:.1f}"] for name, own in times.items()]
    print_table("microseconds of a step", ["", "all", "above"], rows)


if __name__ == "__main__":
    main()
