"""Tiny data sets on disk, in the folders and under the file names that MMSegmentation's data sets look for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

__all__ = ["LAYOUTS", "make_data"]

COUNT = {"train": 8, "aug": 8, "val": 3}
"""Images of each set."""
SIZE = (64, 96)
"""Height and width of an image."""

Pairs = dict[str, tuple[str, str]]
"""For each set (train, val): where image and label map of a name lie, below the data set's root."""

# Root, classes as they are stored (0 included), and the sets.
LAYOUTS: dict[str, tuple[str, int, Pairs]] = {
    "ade": (
        "ade/ADEChallengeData2016",
        151,
        {
            "train": ("images/training/ADE_train_{}.jpg", "annotations/training/ADE_train_{}.png"),
            "val": ("images/validation/ADE_val_{}.jpg", "annotations/validation/ADE_val_{}.png"),
        },
    ),
    "cityscapes": (
        "cityscapes",
        19,
        {
            set_: (
                f"leftImg8bit/{set_}/{city}/{city}_{{}}_000019_leftImg8bit.png",
                f"gtFine/{set_}/{city}/{city}_{{}}_000019_gtFine_labelTrainIds.png",
            )
            for set_, city in (("train", "aachen"), ("val", "munster"))
        },
    ),
    "voc": (
        "VOCdevkit/VOC2012",
        21,
        {
            "train": ("JPEGImages/2007_{}.jpg", "SegmentationClass/2007_{}.png"),
            "aug": ("JPEGImages/2008_{}.jpg", "SegmentationClassAug/2008_{}.png"),
            "val": ("JPEGImages/2011_{}.jpg", "SegmentationClass/2011_{}.png"),
        },
    ),
    "drive": (
        "DRIVE",
        2,
        {
            "train": ("images/training/{}_training.png", "annotations/training/{}_training_manual1.png"),
            "val": ("images/validation/{}_test.png", "annotations/validation/{}_test_manual1.png"),
        },
    ),
    "loveda": (
        "loveDA",
        8,
        {set_: (f"img_dir/{set_}/{{}}.png", f"ann_dir/{set_}/{{}}.png") for set_ in ("train", "val")},
    ),
}


def make_data(layout: str, folder: Path, ignored: float = 0.03) -> Path:
    """Write a data set below a folder; returns its root, which a config names as `data_root`.

    Args:
        layout: A name of `LAYOUTS`.
        folder: Where.
        ignored: Share of pixels with the label 255.
    """
    where, classes, sets = LAYOUTS[layout]
    root = folder / where
    for number, (set_, (image, labels)) in enumerate(sets.items()):
        names = [f"{index:06d}" for index in range(COUNT[set_])]
        for name, (picture, label_map) in zip(names, _samples(classes, ignored, seed=number), strict=False):
            _write(root / image.format(name), picture)
            _write(root / labels.format(name), label_map)
        if layout == "voc":
            listed = "".join(f"{Path(image.format(name)).stem}\n" for name in names)
            _write_text(root / f"ImageSets/Segmentation/{set_}.txt", listed)
    return root


def _samples(classes: int, ignored: float, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield endless images of blocks whose colour goes with their label, and label maps with a few ignored pixels."""
    random = np.random.default_rng(seed)
    colours = np.random.default_rng(99).integers(0, 256, (256, 3))
    while True:
        blocks = random.integers(0, classes, (SIZE[0] // 16, SIZE[1] // 16))
        labels = np.kron(blocks, np.ones((16, 16), int)).astype(np.uint8)
        noise = random.integers(-20, 21, (*SIZE, 3))
        picture = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)
        if classes > 2:
            labels[random.random(SIZE) < ignored] = 255
        yield picture, labels


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture), path


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
