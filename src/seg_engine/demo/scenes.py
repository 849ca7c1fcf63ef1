"""Writes the demo's data set: street scenes as PNG files in ADE20K's layout, drawn from a seed.

`python -m seg_engine.demo.scenes OUT` also prints how much of the pictures each class covers and how far a classifier
gets that sees one pixel's colour and position only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from seg_engine.demo.canvas import CLASSES, PALETTE

SPLITS = {"training": 400, "validation": 80}
SIZE = 192


def write_scenes(
    root: str | Path, *, training: int = SPLITS["training"], validation: int = SPLITS["validation"], seed: int = 0
) -> Path:
    """Write `images/{training,validation}` and `annotations/{training,validation}` under `root`; returns `root`.

    The same numbers give the same files, byte for byte. A set that is there already with the same numbers is kept.
    Scenes of the two splits never share a seed.

    >>> import tempfile
    >>> root = write_scenes(tempfile.mkdtemp(), training=2, validation=1)
    >>> sorted(path.name for path in (root / "images" / "training").iterdir())
    ['street_00000.png', 'street_00001.png']
    """
    root = Path(root)
    recipe = {"training": training, "validation": validation, "seed": seed, "size": SIZE, "classes": list(CLASSES)}
    mark = root / "scenes.json"
    if mark.exists() and json.loads(mark.read_text(encoding="utf-8")) == recipe:
        return root
    scenes = [("training", index, 2 * seed) for index in range(training)]
    scenes += [("validation", index, 2 * seed + 1) for index in range(validation)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy and OpenCV let go of Python's lock
        list(pool.map(lambda scene: write_scene(root, *scene), scenes))
    mark.write_text(json.dumps(recipe, indent=1), encoding="utf-8")
    return root


def write_scene(root: Path, split: str, index: int, seed: int) -> None:
    """Write one scene as two PNG files: the picture, and the labels as one grey value per class."""
    import cv2

    from seg_engine.demo.street import draw_street

    picture, labels = draw_street(seed, index, SIZE)
    for kind, pixels in (("images", picture[..., ::-1]), ("annotations", labels)):
        path = root / kind / split / f"street_{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), pixels):
            raise OSError(f"could not write {path}: is the disk full, or the folder read-only?")


def class_shares(root: Path) -> dict[str, float]:
    """Return the share of all labelled pixels, of both splits, that each class has."""
    import cv2

    from seg_engine.data.files import read_picture

    counts = np.zeros(256, np.int64)
    for path in sorted(root.glob("annotations/*/*.png")):
        counts += np.bincount(read_picture(path, cv2.IMREAD_UNCHANGED).ravel(), minlength=256)
    known = counts[: len(CLASSES)]
    return {name: float(count / known.sum()) for name, count in zip(CLASSES, known, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: write the scenes, then report on them."""
    parser = argparse.ArgumentParser(prog="python -m seg_engine.demo.scenes", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--training", type=int, default=SPLITS["training"], help="number of training scenes")
    parser.add_argument("--validation", type=int, default=SPLITS["validation"], help="number of validation scenes")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another town")
    parser.add_argument("--no-check", action="store_true", help="write only; skip the per-pixel classifiers")
    options = parser.parse_args(arguments)
    root = write_scenes(options.out, training=options.training, validation=options.validation, seed=options.seed)
    print(f"{options.training} + {options.validation} scenes of {SIZE} x {SIZE} in {root}")
    for name, share in class_shares(root).items():
        print(f"  {name:<10} {share:6.1%} of the labelled pixels")
    if not options.no_check:
        report(root)
    return 0


def report(root: Path) -> None:
    """Print what classifiers of single pixels reach."""
    from seg_engine.demo.baseline import per_pixel_scores

    print("A classifier that sees only one pixel's colour and position (validation mIoU):")
    for name, score in per_pixel_scores(root, len(CLASSES)).items():
        print(f"  {name:<34} {score:.3f}")


__all__ = ["CLASSES", "PALETTE", "class_shares", "write_scenes"]

if __name__ == "__main__":
    sys.exit(main())
