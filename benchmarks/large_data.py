"""How long a data set of 1,000 to 1,000,000 images takes to start, and what memory: bare, ours, MMSegmentation's.

Run with `./run bench large_data --peers`. Each start is in a fresh process, imports before it not counted. The bare
form is two lists of names, those of the images and those of their label maps, sorted; it checks nothing. The images
serve as label maps, too, so that half as many files are to be made; they are empty, and lie a thousand to a folder.
MMSegmentation's data set checks no file either.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _environments import PEERS, python_for
from _measure import print_table
from _turns import forget_peak, peak

COUNTS = {1_000: 3, 10_000: 3, 100_000: 2, 1_000_000: 1}
"""Images, and in how many processes each data set starts."""
PER_FOLDER = 1000


def bare(root: Path) -> Callable[[], object]:
    def start() -> object:
        below = os.walk(root)
        images = sorted(os.path.join(here, name) for here, _, names in below for name in names if name.endswith(".png"))
        return images, [f"{name[:-4]}.png" for name in images]

    return start


def ours(root: Path) -> Callable[[], object]:
    import cv2  # noqa: F401 (what a sample needs is no part of the start)
    import torch  # noqa: F401

    from seg_engine.data.datasets import BaseSegDataset

    return lambda: BaseSegDataset(data_root=root, img_suffix=".png", metainfo={"classes": ["a", "b"]})


def mmsegmentation(root: Path) -> Callable[[], object]:
    from _mmsegmentation import import_mmseg

    import_mmseg()
    from mmseg.datasets import BaseSegDataset

    where = {"img_path": str(root), "seg_map_path": str(root)}
    return lambda: BaseSegDataset(img_suffix=".png", data_prefix=where, metainfo={"classes": ["a", "b"]})


DATASETS = {"bare: two lists": (bare, ()), "ours": (ours, ()), "MMSegmentation": (mmsegmentation, ("mmseg",))}


def write_files(root: Path, first: int, last: int) -> None:
    """Make empty files; those before `first` are there."""
    for number in range(first, last):
        folder = root / f"{number // PER_FOLDER:04d}"
        if number % PER_FOLDER == 0:
            folder.mkdir()
        os.close(os.open(f"{folder}/frame_{number:08d}.png", os.O_CREAT))


def start_here(name: str, root: Path) -> dict[str, float]:
    """Start a data set in this process; seconds of CPU time and of the clock, and bytes at most beyond those before."""
    start = DATASETS[name][0](root)
    forget_peak()
    before, cpu, wall = peak(), time.process_time(), time.perf_counter()
    kept = start()
    found = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "peak": peak() - before}
    del kept
    return found


def measured(name: str, root: Path, rounds: int) -> list[str]:
    """Return the cells of a row: medians over fresh processes."""
    python, why = python_for(DATASETS[name][1], "parity", os.environ.get(PEERS) == "1")
    if python is None:
        return [why, "", ""]
    command = [python, __file__, "--start", name, "--root", str(root)]
    found = []
    for _ in range(rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return [done.stderr.strip().splitlines()[-1][:60], "", ""]
        found.append(json.loads(done.stdout.splitlines()[-1]))
    middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
    return [f"{middle['cpu']:.2f}", f"{middle['wall']:.2f}", f"{middle['peak'] / 1e6:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", choices=DATASETS, help="start one here, and print what it took")
    parser.add_argument("--root", type=Path, help="the folder of its files")
    parser.add_argument("--most", type=int, default=max(COUNTS), help="no more images than these")
    options = parser.parse_args()
    if options.start:
        print(json.dumps(start_here(options.start, options.root)))
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        before, rows = 0, []
        for count, rounds in COUNTS.items():
            if count > options.most:
                break
            write_files(Path(folder), before, count)
            rows += [[f"{count:,} images, {name}", *measured(name, Path(folder), rounds)] for name in DATASETS]
            before = count
    print_table("a data set starts", ["", "CPU s", "s", "MB"], rows)


if __name__ == "__main__":
    sys.exit(main())
