"""Checkpoints: time the training thread is blocked, time until the file is whole, extra memory, time to load.

The state is that of AdamW over 391 tensors; wall time, and CPU time of the calling thread, which is what the wall time
is on a machine with nothing else to do; files on the disk of the temporary folder and in memory
(/dev/shm), or where `--folder` says. Bare: `torch.save` and `torch.load`. What this machine allows stands beside them:
a save must `write()` the bytes, a save beside training must copy them once, a verified load must `read()` them, all
without a format or a checksum. `torch.save` syncs nothing: times are given without what is spent in fsync, and with
it. `--millions 122` is the size of ConvNeXt-B with UperNet (1.4 GB of state).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _measure import paired, print_table, ratios
from seg_runner.checkpoint.content import payload_bytes
from seg_runner.checkpoint.read import read_checkpoint
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.trees import tensors_of


class Cost(float):
    """Wall seconds of a call without `os.fsync`, with it, and what the calling thread was busy for."""

    with_sync: float
    cpu: float


Timed = Callable[[], Cost]
PARTS = ("with_sync", "cpu")


class Clock:
    """Times calls without what they spend in `os.fsync`, which it counts apart."""

    def __init__(self) -> None:
        self.synced, self._synced_cpu, self._own = 0.0, 0.0, os.fsync
        os.fsync = self._sync  # type: ignore[assignment]

    def _sync(self, file: int) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        self._own(file)
        self.synced += time.perf_counter() - wall
        self._synced_cpu += time.thread_time() - cpu

    def __call__(self, function: Callable[[], object]) -> Cost:
        """One call."""
        start = time.perf_counter()
        before = start - self.synced, time.thread_time() - self._synced_cpu
        function()
        cost = Cost(time.perf_counter() - self.synced - before[0])
        cost.with_sync = time.perf_counter() - start
        cost.cpu = time.thread_time() - self._synced_cpu - before[1]
        return cost


def state_of(millions: float) -> dict[str, Any]:
    """Weights and two moments, in 391 tensors each."""
    size = int(millions * 1e6 / 391)
    groups = {key: {f"layer{i}.weight": torch.randn(size) for i in range(391)} for key in ("state_dict", "m", "v")}
    moments = {"m": groups["m"], "v": groups["v"]}
    return {"meta": {"iter": 1, "epoch": 0}, "state_dict": groups["state_dict"], "optimizer": moments}


def timed(function: Callable[[], object], clock: Clock, file: Path | None = None) -> Timed:
    """A function that returns the cost of each call; a `file` that it writes is new each time, and does not stay."""

    def run() -> Cost:
        cost = clock(function)
        if file is not None:
            file.unlink()
        return cost

    return run


def extra_memory(function: Callable[[], object]) -> float:
    """Peak of resident private memory above where it began, MB; nan where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        function()
        return (_status("VmHWM") - before) / 1024
    except OSError:
        return float("nan")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def savers(state: dict[str, Any], folder: Path, clock: Clock) -> dict[str, Timed]:
    """Blocked time of each way to save; what is beside training is waited for outside the clock."""
    beside = CheckpointSaver(async_save=True)
    kept = [torch.empty_like(tensor) for tensor in tensors_of(state)]

    def hold(saver: CheckpointSaver) -> Cost:
        blocked = clock(lambda: saver.save(folder / "beside.pth", state))
        saver.wait()
        (folder / "beside.pth").unlink()
        return blocked

    def copy() -> None:
        for buffer, tensor in zip(kept, tensors_of(state), strict=True):
            buffer.copy_(tensor)

    def until_whole() -> None:
        beside.save(folder / "b.pth", state)
        beside.wait()

    def write() -> None:
        with open(folder / "bytes", "wb", buffering=0) as file:
            for tensor in tensors_of(state):
                file.write(tensor.numpy())

    def save_synced() -> None:
        with open(folder / "synced.pth", "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    def no_crc() -> None:
        torch.serialization.set_crc32_options(False)
        torch.save(state, folder / "nocrc.pth")
        torch.serialization.set_crc32_options(True)

    bare, ours = folder / "bare.pth", folder / "ours.pth"
    return {
        "torch.save": timed(lambda: torch.save(state, bare), clock, bare),
        "torch.save, then fsync": timed(save_synced, clock, folder / "synced.pth"),
        "torch.save without CRC32": timed(no_crc, clock, folder / "nocrc.pth"),
        "write() of the same bytes": timed(write, clock, folder / "bytes"),
        "ours": timed(lambda: write_checkpoint(ours, state), clock, ours),
        "one copy in memory": timed(copy, clock),
        "ours, beside training": lambda: hold(beside),
        "ours, beside training, the first": lambda: hold(CheckpointSaver(async_save=True)),
        "ours, beside training, until whole": timed(until_whole, clock, folder / "b.pth"),
    }


def loaders(folder: Path, clock: Clock) -> dict[str, Timed]:
    """Time until a state is there; `touched`: and every byte of it was read once."""

    def touched(content: Any) -> None:
        for tensor in tensors_of(content):
            tensor.sum()

    ours, bare, buffer = folder / "ours.pth", folder / "bare.pth", bytearray(2**20)

    def read() -> None:
        with open(ours, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    return {
        "torch.load": timed(lambda: torch.load(bare, weights_only=True), clock),
        "torch.load, mapped": timed(lambda: torch.load(bare, weights_only=True, mmap=True), clock),
        "read() of the same bytes": timed(read, clock),
        "ours, verified": timed(lambda: read_checkpoint(ours), clock),
        "ours, not verified": timed(lambda: read_checkpoint(ours, verify=False), clock),
        "torch.load, touched": timed(lambda: touched(torch.load(bare, weights_only=True)), clock),
        "ours, verified, touched": timed(lambda: touched(read_checkpoint(ours)), clock),
    }


def measure(title: str, functions: dict[str, Timed], rounds: int, size: int) -> None:
    """Run the functions beside each other and print the table; the first is the one that others are compared with."""
    memory = {key: extra_memory(function) for key, function in functions.items()}
    backed = {key: lambda function=function: _backed(function, size) for key, function in functions.items()}
    found: dict[str, list[Any]] = paired(backed, rounds)  # type: ignore[arg-type]
    base = next(iter(functions))
    parts = [found, *({key: [getattr(cost, part) for cost in costs] for key, costs in found.items()} for part in PARTS)]
    rows = [[key, *(cell for part in parts for cell in _shown(part, key, base)), f"{memory[key]:.0f}"] for key in found]
    header = [cell for name in ("wall s", "with fsync", "CPU s") for cell in (name, "x")]
    print_table(f"{title}; x: of {base}", ["", *header, "extra MB"], rows)


def _backed(function: Timed, size: int) -> Cost:
    """Many virtual machines get memory from their host at its first touch only: touch what the call needs."""
    torch.ones(2 * size, dtype=torch.uint8)
    return function()


def _shown(found: dict[str, list[float]], key: str, base: str) -> list[str]:
    return [f"{statistics.median(found[key]):.3f}", f"{ratios(found, base)[key]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, default=30, help="parameters")
    parser.add_argument("--rounds", type=int, default=7)
    memory = ["/dev/shm"] if os.access("/dev/shm", os.W_OK) else []
    parser.add_argument("--folder", nargs="*", default=[tempfile.gettempdir(), *memory])
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = state_of(options.millions)
    size = payload_bytes(state)
    clock = Clock()
    for parent in options.folder:
        with tempfile.TemporaryDirectory(dir=parent) as name:
            folder = Path(name)
            title = f"{parent}: saving {size / 1e6:.0f} MB, the thread is blocked"
            measure(title, savers(state, folder, clock), options.rounds, size)
            torch.save(state, folder / "bare.pth")
            write_checkpoint(folder / "ours.pth", state)
            measure(f"{parent}: loading", loaders(folder, clock), options.rounds, size)


if __name__ == "__main__":
    main()
