"""What torch's threads cost and gain: seconds of a training step, with the cores free and with others on them.

Run with `./run bench threads`, on a quiet machine: unlike in the other benchmarks the clock counts here. Rows are ways
to choose threads: one; one for each core, as torch does; the same with OpenMP told, before torch is imported, to let
them sleep when they wait; and ours, as many that give way (`seg_runner.process.giving_way`). Columns are how many other
processes compute all the time. The model is the demo's, many small operations, or a large convolution, where threads
gain most.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files

from _measure import print_table

STEPS, ROUNDS = 6, 2
LONGEST = 1.2
"""Seconds of a turn, or one step where that takes longer."""
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
BUSY = "while True: pass"
SETTLE = 2.5
"""Seconds after which ours has found out whether the cores are taken."""


def cores() -> int:
    """Cores that this process may use, as our rule counts them."""
    from seg_runner.process.threads import usable_cores

    return usable_cores()


def small_model() -> Callable[[], object]:
    """Return one step of the demo's model, on four crops of 160 x 160."""
    import torch

    from seg_engine.launch import make_builder, read_config

    cfg = read_config(str(files("seg_engine") / "demo/configs/convnext_street.py"))
    model = make_builder(cfg).build("model", dict(cfg.model)).train()
    images, labels = torch.randn(4, 3, 160, 160), torch.randint(0, 8, (4, 160, 160))

    def step() -> None:
        loss = torch.zeros(())
        for logits in model(images):
            large = torch.nn.functional.interpolate(logits, (160, 160), mode="bilinear")
            loss = loss + torch.nn.functional.cross_entropy(large, labels)
        loss.backward()

    return step


def large_convolution() -> Callable[[], object]:
    """Return one convolution of 64 channels with 64 on 8 x 256 x 256, forward and back."""
    import torch

    images, layer = torch.randn(8, 64, 256, 256), torch.nn.Conv2d(64, 64, 3, padding=1)
    return lambda: layer(images).mean().backward()


MODELS = {"the demo's model": small_model, "a large convolution": large_convolution}


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Hold processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for each in others:
            each.kill()
            each.wait()


def serve(model: str, threads: int, gives_way: bool) -> None:
    """Set up a model, then give for each line that comes the median seconds of some steps."""
    import torch
    from seg_runner.process.giving_way import giving_way

    torch.set_num_threads(threads)
    step = MODELS[model]()
    step()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        found = []
        with ExitStack() as stack:
            if gives_way:
                stack.enter_context(giving_way(torch.device("cpu"), lambda text: None))
            settled = time.monotonic() + float(line)
            while time.monotonic() < settled:
                step()
            while len(found) < STEPS and sum(found) < LONGEST:
                began = time.perf_counter()
                step()
                found.append(time.perf_counter() - began)
        print(json.dumps(statistics.median(found)), flush=True)


def start(model: str, threads: int, gives_way: bool, told: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process that serves one way: how OpenMP waits is read once in the life of a process."""
    unset = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    own = {name: value for name, value in os.environ.items() if name not in unset} | told
    command = [sys.executable, __file__, model, str(threads), str(int(gives_way))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def ask(process: subprocess.Popen[str], settle: float) -> float:
    """Return the seconds of a step in that process, now."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(settle, file=process.stdin, flush=True)
    return float(json.loads(process.stdout.readline()))


def measure(model: str) -> list[list[str]]:
    """Return a row for each way; in each round all take turns."""
    number = cores()
    ways = {
        "one thread": start(model, 1, False, {}),
        f"{number} threads that spin (torch's own)": start(model, number, False, {}),
        f"{number} threads that sleep": start(model, number, False, ASLEEP),
        f"{number} threads that give way (ours)": start(model, number, True, {}),
    }
    found: dict[str, dict[int, list[float]]] = {name: {} for name in ways}
    try:
        for _ in range(ROUNDS):
            for others in (0, 1, number):
                with neighbours(others):
                    for name, process in ways.items():
                        settle = SETTLE if others and "ours" in name else 0.0
                        found[name].setdefault(others, []).append(ask(process, settle))
    finally:
        for process in ways.values():
            process.kill()
            process.wait()
    return [
        [name, *(f"{statistics.median(seconds) * 1e3:.0f}" for seconds in times.values())]
        for name, times in found.items()
    ]


def main() -> None:
    """Measure all ways."""
    if sys.argv[1:]:
        serve(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")
        return
    header = ["threads", "free cores", "1 busy process", f"{cores()} busy processes"]
    for model in MODELS:
        print_table(f"Milliseconds of a step by the clock: {model}", header, measure(model))


if __name__ == "__main__":
    main()
