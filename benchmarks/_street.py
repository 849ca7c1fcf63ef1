"""Pictures like those of a street, with label maps of large and small regions, drawn once for a benchmark."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "SIZE", "streets", "write_streets"]

CLASSES, SIZE = 19, (1024, 2048)
"""As in Cityscapes; (height, width)."""

Pixels = npt.NDArray[np.uint8]


def street(seed: int) -> tuple[Pixels, Pixels]:
    """Return an image (BGR) and its labels: sky, houses and road, 60 things, 150 poles, the car's bonnet left out.

    The noise has the scales of photographs, so that a JPEG of quality 95 takes 0.8 MB and a PNG 3.5 MB.
    """
    random, (height, width) = np.random.default_rng(seed), SIZE
    labels = np.full(SIZE, 10, np.uint8)
    labels[height // 2 :], labels[height * 2 // 3 :] = 0, 1
    for _ in range(60):
        x, y = int(random.integers(0, width)), int(random.normal(height * 0.5, height * 0.15))
        (across, down), label = random.integers(10, 200, 2).tolist(), int(random.integers(CLASSES))
        cv2.ellipse(labels, (x, y), (across, down), float(random.integers(180)), 0, 360, label, -1)
    for _ in range(150):
        x, y = int(random.integers(0, width)), int(random.normal(height * 0.5, height * 0.1))
        wide, high = int(random.integers(2, 12)), int(random.integers(5, 60))
        cv2.rectangle(labels, (x, y), (x + wide, y + high), int(random.integers(CLASSES)), -1)
    labels[-100:] = 255
    image = cv2.GaussianBlur(random.integers(30, 220, (256, 3))[labels].astype(np.float32), (3, 3), 0)
    for step, strength in ((1, 3), (4, 8), (16, 12), (64, 15)):
        noise = random.normal(0, strength, (height // step, width // step)).astype(np.float32)
        image += cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8), labels


def streets(folder: Path, count: int) -> dict[str, list[tuple[str, str]]]:
    """Return the kind (JPEG, PNG) and the paths of images and labels."""
    labels = [str(folder / f"{number}_labels.png") for number in range(count)]
    kinds = {"JPEG": ".jpg", "PNG": ".png"}
    return {kind: [(str(folder / f"{n}{end}"), labels[n]) for n in range(count)] for kind, end in kinds.items()}


def write_streets(folder: Path, count: int) -> None:
    """Write `count` pictures of each kind, and their labels."""
    for number in range(count):
        image, labels = street(number)
        for kind, options in (("JPEG", [cv2.IMWRITE_JPEG_QUALITY, 95]), ("PNG", [])):
            path, beside = streets(folder, count)[kind][number]
            cv2.imwrite(path, image, options)
            cv2.imwrite(beside, labels)
