"""Checkpoints: time the training thread is blocked, time until the file is whole, extra memory, time to load.

The state is that of AdamW over 391 tensors; wall time, files in a folder in memory (/dev/shm) unless `--folder`.
Bare: `torch.save` and `torch.load`. `--millions 122` is the size of ConvNeXt-B with UperNet (1.4 GB of state).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _measure import paired, print_table, ratios
from seg_runner.checkpoint import read_checkpoint, write_checkpoint
from seg_runner.payload import tensors_of
from seg_runner.saver import CheckpointSaver

Timed = Callable[[], float]


def state_of(millions: float) -> dict[str, Any]:
    """Weights and two moments, in 391 tensors each."""
    size = int(millions * 1e6 / 391)
    groups = {key: {f"layer{i}.weight": torch.randn(size) for i in range(391)} for key in ("state_dict", "m", "v")}
    moments = {"m": groups["m"], "v": groups["v"]}
    return {"meta": {"iter": 1, "epoch": 0}, "state_dict": groups["state_dict"], "optimizer": moments}


def timed(function: Callable[[], object], file: Path | None = None) -> Timed:
    """A function that returns the wall time of each call; `file` is removed before (a run saves under new names)."""

    def run() -> float:
        if file is not None:
            file.unlink(missing_ok=True)
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

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


def savers(state: dict[str, Any], folder: Path) -> dict[str, Timed]:
    """Blocked time of each way to save; what is beside training is waited for outside the clock."""
    beside = CheckpointSaver(async_save=True)

    def hold() -> float:
        (folder / "beside.pth").unlink(missing_ok=True)
        start = time.perf_counter()
        beside.save(folder / "beside.pth", state)
        blocked = time.perf_counter() - start
        beside.wait()
        return blocked

    def until_whole() -> None:
        beside.save(folder / "b.pth", state)
        beside.wait()

    def no_crc() -> None:
        torch.serialization.set_crc32_options(False)
        torch.save(state, folder / "nocrc.pth")
        torch.serialization.set_crc32_options(True)

    return {
        "torch.save": timed(lambda: torch.save(state, folder / "bare.pth"), folder / "bare.pth"),
        "torch.save without CRC32": timed(no_crc, folder / "nocrc.pth"),
        "ours": timed(lambda: write_checkpoint(folder / "ours.pth", state), folder / "ours.pth"),
        "ours, beside training": hold,
        "ours, beside training, until whole": timed(until_whole, folder / "b.pth"),
    }


def loaders(folder: Path) -> dict[str, Timed]:
    """Time until a state is there; `touched`: and every byte of it was read once."""

    def touched(content: Any) -> None:
        for tensor in tensors_of(content):
            tensor.sum()

    ours, bare = folder / "ours.pth", folder / "bare.pth"
    return {
        "torch.load": timed(lambda: torch.load(bare, weights_only=True)),
        "ours, verified": timed(lambda: read_checkpoint(ours)),
        "ours, not verified": timed(lambda: read_checkpoint(ours, verify=False)),
        "torch.load, touched": timed(lambda: touched(torch.load(bare, weights_only=True))),
        "ours, verified, touched": timed(lambda: touched(read_checkpoint(ours))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, default=30, help="parameters")
    parser.add_argument("--rounds", type=int, default=7)
    default = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    parser.add_argument("--folder", default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = state_of(options.millions)
    size = sum(t.nbytes for t in {id(t): t for t in tensors_of(state)}.values()) / 1e6
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for title, bare, functions in (
            (f"saving {size:.0f} MB: the thread is blocked", "torch.save", savers(state, folder)),
            ("loading", "torch.load", loaders(folder)),
        ):
            memory = {key: extra_memory(function) for key, function in functions.items()}
            found = paired(functions, options.rounds)
            shares = ratios(found, bare)
            rows = [
                [key, f"{sorted(times)[len(times) // 2]:.3f}", f"{shares[key]:.2f}", f"{memory[key]:.0f}"]
                for key, times in found.items()
            ]
            print_table(title, ["", "s", f"x {bare}", "extra MB"], rows)


if __name__ == "__main__":
    main()
