"""A training step with each switch for speed: compiled, captured, channels-last, bf16; and the bare step beside it.

Run with `./run bench compile`. The networks are SegFormer-B0 and a small UPerNet on ConvNeXt, the crops small, so that
all is over in a minute, and on a CPU with half their blocks; `--size 512 --batch 8 --blocks 2` is as in a real run. The
steps take turns; on a CPU with one thread, in process CPU time, on a GPU by the clock, each step waited for. Captured
steps are for GPUs; without one they are left out. The time to compile stands apart, and is one of a fresh cache: on a
CPU it is most of this benchmark's, so there only the first network is compiled, or with `--compile all` both.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _measure import paired, print_table, ratios
from _networks import ConvNeXtUPerNet, SegFormer
from torch import nn

CPU = not torch.cuda.is_available()
DEVICE = torch.device("cpu" if CPU else "cuda")
NETWORKS = {"SegFormer-B0": SegFormer, "ConvNeXt-atto UPerNet": ConvNeXtUPerNet}
Batch = tuple[torch.Tensor, torch.Tensor]
Step = Callable[[Batch], object]
Kind = Callable[[], nn.Module]


def network(kind: Kind) -> nn.Module:
    """A network with the same weights each time."""
    torch.manual_seed(0)
    return kind().to(DEVICE)


def bare(kind: Kind) -> Step:
    """The step by hand."""
    net = network(kind)
    optimizer, criterion = torch.optim.AdamW(net.parameters(), 1e-4, fused=True), nn.CrossEntropyLoss(ignore_index=255)

    def step(batch: Batch) -> object:
        logits = nn.functional.interpolate(net(batch[0]), batch[1].shape[-2:], mode="bilinear", align_corners=False)
        loss = criterion(logits, batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def ours(kind: Kind, compiled: Any = False, channels_last: bool = False, bf16: bool = False) -> Step:
    """The step of a run with these switches."""
    from seg_optim import AmpOptimWrapper, OptimWrapper
    from seg_runner import LogitsModel
    from seg_runner.model.compilation import compile_model
    from seg_runner.model.graph.options import graph_options
    from seg_runner.model.graph.step import capture_steps
    from seg_runner.model.prepare import use_channels_last

    model: nn.Module = LogitsModel(network(kind), loss=nn.CrossEntropyLoss(ignore_index=255))
    if channels_last:
        use_channels_last(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    wrapper: Any = AmpOptimWrapper(dtype="bfloat16", optimizer=optimizer) if bf16 else OptimWrapper(optimizer)
    compile_model(model, compiled)
    if (options := graph_options(compiled)) is not None:
        capture_steps(model, wrapper, options, DEVICE, logging.getLogger("bench"))
    return partial(model.train_step, optim_wrapper=wrapper)  # type: ignore[arg-type]


def timed(step: Step, batch: Batch) -> float | None:
    """Seconds of a step by the clock, waited for; None on a CPU, where the caller counts CPU time."""
    if CPU:
        step(batch)
        return None
    torch.cuda.synchronize()
    start = time.perf_counter()
    step(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(step: Step, batch: Batch) -> float:
    """Megabytes that a step has at once beyond what lies there before it."""
    if not CPU:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(batch)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from now on
    before_kb = _status("VmRSS")
    step(batch)
    return (_status("VmHWM") - before_kb) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def rows_of(kind: Kind, batch: Batch, rounds: int, compiled: bool) -> list[list[str]]:
    """One row for each way to do the step."""
    ways: dict[str, Callable[[], Step]] = {
        "bare": partial(bare, kind),
        "ours": partial(ours, kind),
        "ours, channels_last": partial(ours, kind, channels_last=True),
        "ours, bf16": partial(ours, kind, bf16=True),
    }
    if compiled:
        ways["ours, compile"] = partial(ours, kind, compiled=True)
    if not CPU:
        ways["ours, graph"] = partial(ours, kind, compiled={"mode": "graph"})
        ways["ours, graph, bf16"] = partial(ours, kind, compiled={"mode": "graph"}, bf16=True)
    steps, first = {}, {}
    for name, make in ways.items():
        steps[name] = make()
        start = time.perf_counter()
        for _ in range(5 if "graph" in name else 1):
            steps[name](batch)
        first[name] = time.perf_counter() - start
    found = paired({name: partial(timed, step, batch) for name, step in steps.items()}, rounds)
    relative = ratios(found, "ours")
    return [
        [
            name,
            f"{1000 * statistics.median(found[name]):.1f}",
            f"{relative[name]:.2f}",
            f"{peak(step, batch):.0f}",
            f"{first[name]:.1f}" if {"compile", "graph"} & set(name.replace(",", "").split()) else "",
        ]
        for name, step in steps.items()
    ]


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64 if CPU else 128, help="height and width of the crops")
    parser.add_argument("--batch", type=int, default=2, help="crops in a batch")
    parser.add_argument("--blocks", type=int, default=1 if CPU else 2, help="in a stage; the published have 2")
    which = ("none", "first", "all")
    parser.add_argument("--compile", choices=which, default="first" if CPU else "all", help="networks to compile")
    parser.add_argument("--rounds", type=int, default=12 if CPU else 50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(options.batch, 3, options.size, options.size, device=DEVICE)
    masks = torch.randint(0, 19, (options.batch, options.size, options.size), device=DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for number, (name, kind) in enumerate(NETWORKS.items()):
            compiled = number < which.index(options.compile)
            rows = rows_of(partial(kind, blocks=options.blocks), (images, masks), options.rounds, compiled)
            what = f"{options.blocks} blocks a stage, {options.batch} crops of {options.size} pixels, {DEVICE.type}"
            header = ["", "ms", "x ours", "peak MB above", "s until the first"]
            print_table(f"{name}, {what}: one training step", header, rows)


if __name__ == "__main__":
    main()
