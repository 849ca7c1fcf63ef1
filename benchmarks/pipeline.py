"""What a training sample costs: CPU time of reading and augmenting it, and bytes read, for two usual sizes of pictures.

Run with `./run bench pipeline`. The pipelines are those of MMSegmentation's configs for ADE20K and Cityscapes, the
transforms ours, read by our data set as a worker of a run does; one thread. The pictures are drawn: smooth shapes with
noise, so that the files are about as large as photographs of that size.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from _measure import print_table
from seg_registry import Config

from seg_engine.launch import make_builder

PICTURES, ROUNDS = 8, 5
CONFIG = """
dataset = dict(
    type='BaseSegDataset', data_root='{root}', img_suffix='{suffix}', seg_map_suffix='.png',
    data_prefix=dict(img_path='images', seg_map_path='labels'),
    metainfo=dict(classes={classes}),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomResize', scale={scale}, ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size={crop}, cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackSegInputs'),
    ])
"""
KINDS = {
    "ADE20K: JPEG of 683 x 512, crop of 512 x 512": ((512, 683), ".jpg", 150, (2048, 512), (512, 512)),
    "Cityscapes: PNG of 2048 x 1024, crop of 1024 x 512": ((1024, 2048), ".png", 19, (2048, 1024), (512, 1024)),
}


def draw(root: Path, size: tuple[int, int], suffix: str, classes: int) -> None:
    """Write some pictures and their labels."""
    random = np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    for index in range(PICTURES):
        coarse = random.integers(0, classes, (size[0] // 64, size[1] // 64 + 1), np.uint8)
        label = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)
        colour = cv2.GaussianBlur(random.integers(0, 256, (256, 3), np.uint8)[label], (9, 9), 0)
        noise = random.normal(0, 4, (*size, 1))
        cv2.imwrite(str(root / f"images/{index}{suffix}"), np.clip(colour + noise, 0, 255).astype(np.uint8))
        cv2.imwrite(str(root / f"labels/{index}.png"), label)


def measure(size: tuple[int, int], suffix: str, classes: int, scale: object, crop: object) -> list[str]:
    """Return milliseconds and kilobytes of a sample."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root, size, suffix, classes)
        names = [str(number) for number in range(classes)]
        cfg = Config.fromstring(
            CONFIG.format(root=root.as_posix(), suffix=suffix, classes=names, scale=scale, crop=crop), ".py"
        )
        dataset = make_builder(cfg).build("dataset", cfg.dataset)
        spent = []
        for index in [*range(PICTURES)] * (ROUNDS + 1):
            began = time.process_time()
            dataset[index]
            spent.append(time.process_time() - began)
        size_of_all = sum(path.stat().st_size for path in root.rglob("*.*") if path.is_file())
    return [f"{1e3 * statistics.median(spent[PICTURES:]):.1f}", f"{size_of_all / PICTURES / 1e3:.0f}"]


def main() -> None:
    cv2.setNumThreads(1)
    rows = [[name, *measure(*kind)] for name, kind in KINDS.items()]
    print_table("a training sample", ["", "CPU ms", "kB read"], rows)


if __name__ == "__main__":
    main()
