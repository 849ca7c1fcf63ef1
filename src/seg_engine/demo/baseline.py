"""How far colour and position alone go: two per-pixel classifiers, so that the scenes are known to need shapes.

Neither sees a neighbour of the pixel it judges. Both are given every chance: the counts are tried with several
weights of the class shares and the best is taken on the validation pixels themselves.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from seg_engine.data.files import read_picture

Array = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]
COLOURS, PLACES = 10, 12


def per_pixel_scores(root: Path, classes: int, seed: int = 0) -> dict[str, float]:
    """Return the mIoU (0..1) of each per-pixel classifier: fitted on `training`, judged on `validation`."""
    train, val = read_pixels(root, "training", 3000, seed), read_pixels(root, "validation", 10_000, seed)
    return {
        "counts of colour x position": by_counts(train, val, classes),
        "small network on (r, g, b, x, y)": by_network(train, val, classes, seed),
    }


def read_pixels(root: Path, split: str, most: int, seed: int) -> tuple[Array, Classes]:
    """Labelled pixels as rows (r, g, b, x, y) in 0..1 with their classes; about `most` of each image, at random."""
    random = np.random.default_rng(seed)
    rows, classes = [], []
    for path in sorted((root / "images" / split).glob("*.png")):
        picture = read_picture(path)[..., ::-1] / 255
        labels = read_picture(root / "annotations" / split / path.name, cv2.IMREAD_UNCHANGED)
        height, width = labels.shape
        y, x = np.mgrid[0:height, 0:width]
        pixels = np.dstack([picture, x / width, y / height]).reshape(-1, 5).astype(np.float32)
        keep = (labels.ravel() != 255) & (random.random(labels.size) < most / labels.size)
        rows.append(pixels[keep])
        classes.append(labels.ravel()[keep].astype(np.int64))
    return np.concatenate(rows), np.concatenate(classes)


def mean_iou(predicted: Classes, true: Classes, classes: int) -> float:
    """Mean over classes of intersection / union."""
    table = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)
    union = table.sum(0) + table.sum(1) - table.diagonal()
    return float(np.mean(table.diagonal() / np.maximum(union, 1)))


def by_counts(train: tuple[Array, Classes], val: tuple[Array, Classes], classes: int) -> float:
    """Return the best of several posteriors from counts: coarse cells help out where fine ones are empty."""
    best = 0.0
    counts = [histogram(train, classes, 1), histogram(train, classes, 2)]
    fine, coarse = (table[cells(val[0], scale)] for table, scale in zip(counts, (1, 2), strict=True))
    posterior = fine + 4 * (coarse + 0.01) / (coarse + 0.01).sum(1, keepdims=True)
    share = np.bincount(train[1], minlength=classes) / len(train[1])
    for weight in (0.0, 0.25, 0.5, 0.75):
        best = max(best, mean_iou((posterior / share**weight).argmax(1), val[1], classes))
    return best


def cells(pixels: Array, scale: int) -> Classes:
    """Return the number of each pixel's cell in colour and position."""
    bins = np.array([COLOURS] * 3 + [PLACES] * 2) // scale
    number = np.zeros(len(pixels), np.int64)
    for column, count in enumerate(bins):
        number = number * count + np.minimum((pixels[:, column] * count).astype(np.int64), count - 1)
    return number


def histogram(train: tuple[Array, Classes], classes: int, scale: int) -> Array:
    """Tell how often each class was seen in each cell."""
    total = int(np.prod(np.array([COLOURS] * 3 + [PLACES] * 2) // scale))
    counts = np.bincount(cells(train[0], scale) * classes + train[1], minlength=total * classes)
    return counts.reshape(total, classes).astype(np.float32)


def by_network(train: tuple[Array, Classes], val: tuple[Array, Classes], classes: int, seed: int) -> float:
    """Fit two hidden layers of 96 on the five numbers, rare classes weighted up by the root of their share."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 96), nn.GELU(), nn.Linear(96, 96), nn.GELU(), nn.Linear(96, classes))
    share = np.bincount(train[1], minlength=classes) / len(train[1])
    loss_of = nn.CrossEntropyLoss(torch.tensor(share**-0.5, dtype=torch.float32))
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    steps = 500
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    pixels, labels = torch.from_numpy(train[0] * 2 - 1), torch.from_numpy(train[1])
    for _ in range(steps):
        chosen = torch.randint(len(labels), (4096,))
        loss = loss_of(net(pixels[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        predicted = net(torch.from_numpy(val[0] * 2 - 1)).argmax(1).numpy()
    return mean_iou(predicted, val[1], classes)
