"""What drawing costs: the bare limit, seg-vis and supervision, interleaved in one run.

The bare limit is the shortest code with the fastest calls that paints and names the classes, and nothing else: no
ignored label, no checks, names wherever they fall.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from _measure import block, paired, print_table, ratios
from seg_vis import get_classes, get_palette, overlay

ALPHA = 0.5
CASES = [(1024, 2048, 19, 19, "cityscapes"), (512, 512, 20, 150, "ade20k"), (1024, 2048, 150, 150, "ade20k")]


def scene(height: int, width: int, present: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise and a label map of 8 x 16 blocks or more, every class in it, one corner ignored."""
    rng = np.random.default_rng(0)
    blocks = np.resize(rng.permutation(present).astype(np.uint8), (8, 20))
    labels = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    labels[:8, :64] = 255
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), labels


def bare_plain(image: np.ndarray, labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(palette), 0] = palette
    painted = cv2.applyColorMap(labels, table)
    return cv2.addWeighted(image, 1 - ALPHA, painted, ALPHA, 0, dst=painted)


def bare_names(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, classes: list[str]) -> np.ndarray:
    picture = bare_plain(image, labels, palette)
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
    scale = min(labels.shape) / 1000
    for label in np.flatnonzero(counts[: len(palette)]).tolist():
        row = int(cv2.reduce(cv2.compare(labels, label, cv2.CMP_EQ), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).argmax())
        columns = np.flatnonzero(labels[row] == label)
        x, y = int(columns[len(columns) // 2]), row
        (width, height), below = cv2.getTextSize(classes[label], cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
        cv2.rectangle(picture, (x, y), (x + width + below, y + height + below), palette[label].tolist(), -1)
        cv2.putText(picture, classes[label], (x, y + height), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 2)
    return picture


def supervision_plain(sv: Any, palette: np.ndarray, names: list[str] | None) -> Callable[..., np.ndarray]:
    """supervision's annotators, from the same label map."""
    colours = sv.ColorPalette([sv.Color(*colour) for colour in palette.tolist()])
    look_up = sv.ColorLookup.CLASS
    masks = sv.MaskAnnotator(color=colours, opacity=ALPHA, color_lookup=look_up)
    words = sv.LabelAnnotator(color=colours, color_lookup=look_up)

    def draw(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found = [label for label in np.unique(labels).tolist() if label < len(palette)]
        mask = np.stack([labels == label for label in found])
        boxes = sv.mask_to_xyxy(mask)
        detections = sv.Detections(xyxy=boxes, mask=mask, class_id=np.array(found))
        picture = masks.annotate(image.copy(), detections)
        if names is not None:
            picture = words.annotate(picture, detections, [names[label] for label in found])
        return picture

    return draw


def contestants(case: tuple[int, int, int, int, str], named: bool, sv: Any) -> dict[str, Callable[[], object]]:
    """What draws the same scene."""
    height, width, present, _, data_set = case
    image, labels = scene(height, width, present)
    palette, classes = get_palette(data_set), get_classes(data_set)
    wide = labels.astype(np.int64)
    runs: dict[str, Callable[[], object]] = {
        "bare": lambda: bare_names(image, labels, palette, classes) if named else bare_plain(image, labels, palette),
        "seg-vis": lambda: overlay(image, labels, palette=data_set, alpha=ALPHA, with_labels=named),
        "seg-vis, int64": lambda: overlay(image, wide, palette=data_set, alpha=ALPHA, with_labels=named),
    }
    if sv is not None:
        draw = supervision_plain(sv, palette, classes if named else None)
        runs["supervision"] = lambda: draw(image, labels)
    return runs


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    try:
        import supervision as sv
    except ImportError:
        sv = None
        print("supervision is not installed: left out (pip install supervision)", file=sys.stderr)
    rows = []
    for case in CASES:
        for named in (False, True):
            height, width, present, count, _ = case
            runs = {name: block(run) for name, run in contestants(case, named, sv).items()}
            found = paired(runs, rounds=5 if present > 100 else 15)
            share, limit = ratios(found, "bare"), statistics.median(found["bare"]) * 1000
            what = f"{height}x{width}, {present} of {count}{', names' if named else ''}"
            rows.append([what, f"{limit:.2f}", *(f"{share[k]:.2f}" if k in share else "-" for k in COLUMNS)])
    print_table("CPU time of a picture over the bare limit", ["picture", "bare ms", *COLUMNS], rows)
    print("targets: 1.3 plain, 1.5 with names")


COLUMNS = ["seg-vis", "seg-vis, int64", "supervision"]

if __name__ == "__main__":
    main()
