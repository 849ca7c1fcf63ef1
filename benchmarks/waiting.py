"""How long the training process waits for a batch, with 0, 1, 2 workers and one per core: bare, ours, MMSegmentation's.

Run with `./run bench waiting --peers`. Batches of four crops of 512 x 512 out of JPEG files of 1024 x 2048; between two
batches the training process computes for 100 ms (CPU time). The bare form is torch's loader over the plain sequence of
OpenCV calls, which stacks tensors. This is time by the clock, since waiting is: only a machine with nothing else to do
gives figures that mean something.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import _samples
import numpy as np
from _contest import Contest, Contestant, main
from _street import streets, write_streets

FILES, BATCH, BATCHES, TIMES = 8, 4, 5, 10_000
COMPUTE = 0.1
FOLDER = "SEG_BENCH_WAITING"
"""The environment variable by which contestants know the folder of the pictures."""

DATASET = {
    "type": "BaseSegDataset",
    "img_suffix": ".jpg",
    "seg_map_suffix": "_labels.png",
    "metainfo": {"classes": [str(number) for number in range(19)]},
}
SAMPLER = {"type": "InfiniteSampler", "shuffle": True}


class Plain:
    """The plain sequence as a data set."""

    def __init__(self, folder: Path) -> None:
        self.files, self.sample = streets(folder, FILES)["JPEG"], _samples.plain()

    def __len__(self) -> int:
        return FILES * TIMES

    def __getitem__(self, index: int) -> Any:
        np.random.seed(index)
        return self.sample(*self.files[index % FILES])


def bare(folder: Path, workers: int) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    return iter(DataLoader(Plain(folder), batch_size=BATCH, shuffle=True, num_workers=workers))


def ours(folder: Path, workers: int) -> Iterator[Any]:
    from seg_registry import Config
    from seg_runner import TrainBatches
    from seg_runner.data.loader import build_dataloader
    from seg_runner.process.randomness import Randomness

    from seg_engine.launch import make_builder

    inside = {**DATASET, "data_root": str(folder), "pipeline": _samples.STEPS}
    cfg = {"dataset": {"type": "RepeatDataset", "times": TIMES, "dataset": inside}, "sampler": SAMPLER}
    randomness = Randomness(seed=0)
    cfg |= {"batch_size": BATCH, "num_workers": workers}
    loader = build_dataloader(cfg, make_builder(Config({})), randomness)
    return TrainBatches(loader, randomness)


def mmsegmentation(folder: Path, workers: int) -> Iterator[Any]:
    from _mmsegmentation import import_mmseg

    import_mmseg()
    import mmseg.datasets  # noqa: F401 (its names are registered)
    from mmengine.runner import Runner

    where = {"img_path": str(folder), "seg_map_path": str(folder)}
    inside = {**DATASET, "data_prefix": where, "pipeline": _samples.STEPS}
    cfg = {"dataset": {"type": "RepeatDataset", "times": TIMES, "dataset": inside}, "sampler": SAMPLER}
    return iter(Runner.build_dataloader({**cfg, "batch_size": BATCH, "num_workers": workers}, seed=0))


def waits(batches: Callable[[Path, int], Iterator[Any]], workers: int) -> Callable[[], float]:
    """Return the work: some batches, each waited for and computed on; it gives the mean wait."""
    import cv2
    import torch

    cv2.setNumThreads(0)  # as MMEngine does, and ours in workers
    given, numbers = batches(Path(os.environ[FOLDER]), workers), torch.rand(256, 256)

    def work() -> float:
        waited = 0.0
        for _ in range(BATCHES):
            began = time.perf_counter()
            next(given)
            waited += time.perf_counter() - began
            until = time.process_time() + COMPUTE
            while time.process_time() < until:
                numbers @ numbers
        return waited / BATCHES

    return work


def contests() -> list[Contest]:
    cores = os.cpu_count() or 1
    listed = []
    for workers in sorted({0, 1, 2, cores}):
        name = f"waiting for a batch of {BATCH}, {workers} worker{'s' * (workers != 1)}, {cores} cores"
        entered = {
            "bare": Contestant(partial(waits, bare, workers)),
            "ours": Contestant(partial(waits, ours, workers)),
            "MMSegmentation": Contestant(partial(waits, mmsegmentation, workers), "mmseg", "parity"),
        }
        listed.append(Contest(name, entered, measure="own", rounds=8, seconds=18, warm=2, freeze=True))
    return listed


if __name__ == "__main__":
    if "--contestant" in sys.argv:
        main(contests())
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        write_streets(Path(folder), FILES)
        main(contests())
