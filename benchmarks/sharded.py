"""Checkpoints of several ranks: one file that rank 0 writes, against a set of which each rank writes its part.

Run with `./run bench sharded`. The state is that of AdamW over a hundred equal tensors; 2 and 4 processes of this
machine, gloo, one torch thread each, all on one disk (of the temporary folder, or where `--folder` says). Times are the
medians of what the slowest rank waited for: `blocked` until training goes on, `whole` until the checkpoint is there,
synced; they waver with the disk. Bytes are those on the disk. Under `fsdp` each rank has a part of each tensor: for a
file rank 0 must gather them all first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _measure import print_table
from seg_runner.checkpoint.read import read_checkpoint
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checkpoint.several.layout import checkpoint_bytes
from seg_runner.distributed.shards import gathered
from seg_runner.distributed.world import World, adopt_world
from torch import distributed, multiprocessing

TENSORS = 100


def state_of(megabytes: float, world: World, parted: bool) -> dict[str, Any]:
    """Return weights and the state of AdamW, so many megabytes together, whole or in parts."""
    width = int((megabytes * 2**20 / 4 / 3 / TENSORS) ** 0.5) // 4 * 4
    generator = torch.Generator().manual_seed(0)

    def tensor() -> torch.Tensor:
        drawn = torch.randn(width, width, generator=generator)
        if not parted:
            return drawn
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Shard, distribute_tensor

        return distribute_tensor(drawn, init_device_mesh("cpu", (world.size,)), [Shard(0)])

    weights = {f"layer{number}.weight": tensor() for number in range(TENSORS)}
    state = {number: {"exp_avg": tensor(), "exp_avg_sq": tensor()} for number in range(TENSORS)}
    meta = {"iter": 1, "epoch": 0, "run_id": "x", "generation": 1}
    return {"meta": meta, "state_dict": weights, "optimizer": {"state": state, "param_groups": []}}


def save(saver: CheckpointSaver, path: Path, state: dict[str, Any]) -> tuple[float, float]:
    """Save once on all ranks; return the seconds until training goes on, and until it is there, of the slowest."""
    distributed.barrier()
    began = time.perf_counter()
    if saver.sharded:
        saver.save_set(path, state, set(state["state_dict"]))
    else:
        whole = gathered(state, keep=saver.world.rank == 0)
        if saver.world.rank == 0:
            saver.save(path, whole)
    blocked = time.perf_counter() - began
    saver.wait()
    return max(saver.world.gather(blocked)), max(saver.world.gather(time.perf_counter() - began))


def measure(rank: int, size: int, port: int, options: argparse.Namespace, rows: Any) -> None:
    """Save and read on one rank; rank 0 adds the rows."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    world = adopt_world()
    for parted in (False, True):
        state = state_of(options.megabytes, world, parted)
        for sharded, beside in ((False, False), (True, False), (False, True), (True, True)):
            saver = CheckpointSaver(sharded=sharded, async_save=beside)
            saver.world = world
            path = Path(options.folder) / f"{size}_{parted}_{sharded}_{beside}.pth"
            times = [save(saver, path, state) for _ in range(options.rounds + 1)][1:]
            began = time.perf_counter()
            read_checkpoint(path)
            reading = max(world.gather(time.perf_counter() - began))
            if rank == 0:
                blocked, whole = (statistics.median(each) * 1e3 for each in zip(*times, strict=True))
                strategy, kind = "fsdp" if parted else "ddp", "set" if sharded else "file"
                how = "beside training" if beside else "at once"
                size_there = f"{checkpoint_bytes(path) / 1e6:.2f}"
                times_there = [f"{each:.0f}" for each in (blocked, whole, reading * 1e3)]
                rows.append([str(size), strategy, kind, how, *times_there, size_there])
    distributed.destroy_process_group()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100.0, help="size of the state")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, multiprocessing.Manager() as manager:
        options.folder, rows = folder, manager.list()
        for size in (2, 4):
            store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            port = store.port
            del store
            multiprocessing.spawn(measure, (size, port, options, rows), nprocs=size)
        header = ["ranks", "strategy", "checkpoint", "written", "blocked ms", "whole ms", "read ms", "MB"]
        print_table(f"a state of {options.megabytes:g} MB", header, list(rows))


if __name__ == "__main__":
    main()
