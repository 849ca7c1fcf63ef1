"""What a training sample costs in CPU time: ours, two forms by hand, and peers; the whole, and each transform.

Run with `./run bench data --peers`. Crops of 512 x 512 out of JPEG and PNG files of 1024 x 2048, drawn once.
`_samples.py` says how the plain form (the bare limit) and the fused one are written, and why they are fair.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import _samples
import numpy as np
from _contest import Contest, Contestant, Goal, main
from _samples import FACTS, STEPS, bare_step
from _street import streets, write_streets

FILES, SAMPLES = 4, 8
FOLDER = "SEG_BENCH_STREETS"
"""The environment variable by which contestants know the folder of the pictures."""

PLAIN, FUSED = "plain sequence of OpenCV calls", "fused by hand"
GIVEN: dict[str, tuple[str, str, str | None]] = {
    PLAIN: ("plain", "", None),
    FUSED: ("fused", "", None),
    "ours": ("ours", "", None),
    "MMSegmentation": ("mmsegmentation", "mmseg", "parity"),
    "albumentations": ("albumentations", "albumentations", "peers"),
    "kornia": ("kornia", "kornia", "peers"),
    "torchvision v2": ("torchvision", "torchvision", "parity"),
}
"""By name: the function in `_samples.py`, the module it needs, and the environment that has it."""


def check_alike(name: str, sample: Any, paths: tuple[str, str]) -> None:
    """See that those who draw the same numbers make the same sample as the plain form, but for rounding of colours.

    Of MMSegmentation, labels are compared.
    """
    off, same = {FUSED: (8, 0.9), "ours": (1, 1), "MMSegmentation": (255, 1)}[name]
    for seed in range(4):
        made = []
        for each in (_samples.plain(), sample):
            np.random.seed(seed)
            made.append(each(*paths))
        (image, labels), (other, others) = made
        assert (image.float() - other.float()).abs().mean() <= off, f"{name}: other colours than by hand"
        assert (labels == others).float().mean() >= same, f"{name}: other labels than by hand"


def samples(name: str, kind: str) -> Callable[[], float]:
    """Return the work: some samples, of which all contestants draw the same numbers in the same turn."""
    import cv2

    cv2.setNumThreads(1)
    sample, files, turns = getattr(_samples, GIVEN[name][0])(), streets(Path(os.environ[FOLDER]), FILES)[kind], count()
    if name in (FUSED, "ours", "MMSegmentation"):
        check_alike(name, sample, files[0])

    def work() -> float:
        np.random.seed(next(turns))
        began = time.process_time()
        for number in range(SAMPLES):
            sample(*files[number % FILES])
        return (time.process_time() - began) / SAMPLES

    return work


def step(name: str, number: int) -> Callable[[], object]:
    """Return the work: one transform by itself, given pixels, so that what a view saves is not in it."""
    import cv2

    cv2.setNumThreads(1)
    if name == "MMSegmentation":
        _samples.mmsegmentation()
        from mmengine.registry import TRANSFORMS

        make = TRANSFORMS.build
    else:
        from seg_engine.data.pipeline import build

        make = partial(build, "transform")
    image, labels = streets(Path(os.environ[FOLDER]), 1)["JPEG"][0]
    record: dict[str, Any] = {"img_path": image, "seg_map_path": labels, "seg_fields": [], **FACTS}
    np.random.seed(3)
    for given in STEPS[:number]:
        record = make(given)(record)
    transform = partial(bare_step, number) if name == PLAIN else make(STEPS[number])
    return lambda: transform({**record, "seg_fields": list(record["seg_fields"])})


def contests() -> list[Contest]:
    def contestant(name: str, work: Callable[..., object], *given: object) -> Contestant:
        _, needs, environment = GIVEN[name]
        return Contestant(partial(work, name, *given), needs or (), environment, rounds=5 if name == "kornia" else None)

    listed = []
    for kind, most in (("JPEG", 0.85), ("PNG", 0.9)):
        under = [Goal("ours", under=name) for name in ("albumentations", "torchvision v2")]
        title = f"a training sample of a {kind}: read, resize, crop, flip, distort, pack"
        entered = {name: contestant(name, samples, kind) for name in GIVEN}
        goals = [Goal("ours", ratio=most), *under]
        listed.append(Contest(title, entered, measure="own", rounds=12, seconds=25, goals=goals))
    for number, given in enumerate(STEPS):
        entered = {name: contestant(name, step, number) for name in (PLAIN, "ours", "MMSegmentation")}
        listed.append(Contest(f"{given['type']} by itself (JPEG)", entered, rounds=8, seconds=4))
    return listed


if __name__ == "__main__":
    if "--contestant" in sys.argv:
        main(contests())
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        write_streets(Path(folder), FILES)
        main(contests())
