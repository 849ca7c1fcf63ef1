"""What drawing costs: the bare limit, seg-vis, and supervision and MMSegmentation where installed, interleaved.

The bare limit is the shortest code with the fastest calls that paints and names the classes, and nothing else: no
ignored label, no checks, names wherever they fall, in strokes instead of a font. It and seg-vis get labels as bytes;
"int64" gets them as networks give them, while the bare time stays that for bytes. "cold" is one call right after a
garbage collection, against the bare call in the same state; the others are means over blocks of calls.
`./run parity:bench pictures` has both peers.
"""

from __future__ import annotations

import importlib.util
import statistics
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


def fullest_rows(labels: np.ndarray, present: list[int]) -> list[int]:
    """The row with most of each label, the faster way for their number."""
    if len(present) <= 24:
        planes = ((labels == label).view(np.uint8) for label in present)
        return [int(cv2.reduce(plane, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).argmax()) for plane in planes]
    rows = np.repeat(np.arange(256, dtype=np.uint8), labels.shape[1]).reshape(256, -1)
    parts = [labels[top : top + 256] for top in range(0, len(labels), 256)]
    ranges = [0, 256, 0, 256]
    counts = [cv2.calcHist([rows[: len(part)], part], [0, 1], None, [256, 256], ranges) for part in parts]
    return [int(row) for row in np.concatenate(counts).argmax(axis=0)[present]]


def bare_names(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, classes: list[str]) -> np.ndarray:
    picture = bare_plain(image, labels, palette)
    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
    present = np.flatnonzero(counts[: len(palette)]).tolist()
    scale = min(labels.shape) / 1000
    for label, y in zip(present, fullest_rows(labels, present), strict=True):
        columns = np.flatnonzero(labels[y] == label)
        x = int(columns[len(columns) // 2])
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


def mmseg_plain(palette: np.ndarray, classes: list[str], named: bool) -> Callable[..., np.ndarray] | None:
    """MMSegmentation's visualizer, from a data sample; None where it is not installed."""
    if importlib.util.find_spec("mmseg") is None:
        return None
    from _mmsegmentation import import_mmseg

    import_mmseg()
    import torch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    torch.set_num_threads(1)
    visualizer = SegLocalVisualizer(alpha=ALPHA)
    visualizer.set_dataset_meta(classes=classes, palette=palette.tolist())

    def draw(image: np.ndarray, labels: np.ndarray) -> None:
        sample = SegDataSample(pred_sem_seg=PixelData(data=torch.from_numpy(labels)[None]))
        visualizer.add_datasample("x", image, sample, draw_gt=False, with_labels=named)

    return draw


Runs = dict[str, Callable[[], object]]


def contestants(case: tuple[int, int, int, int, str], named: bool) -> tuple[Runs, Runs]:
    """What draws the same scene: ours, and the peers that are installed."""
    height, width, present, _, data_set = case
    image, labels = scene(height, width, present)
    palette, classes = get_palette(data_set), get_classes(data_set)
    wide = labels.astype(np.int64)
    ours: Runs = {
        "bare": lambda: bare_names(image, labels, palette, classes) if named else bare_plain(image, labels, palette),
        "seg-vis": lambda: overlay(image, labels, palette=data_set, alpha=ALPHA, with_labels=named),
        "seg-vis, int64": lambda: overlay(image, wide, palette=data_set, alpha=ALPHA, with_labels=named),
    }
    peers: Runs = {}
    if (mmseg := mmseg_plain(palette, classes, named)) is not None:
        peers["MMSegmentation"] = lambda: mmseg(image, wide)
    if importlib.util.find_spec("supervision") is not None:
        import supervision

        draw = supervision_plain(supervision, palette, classes if named else None)
        peers["supervision"] = lambda: draw(image, labels)
    return ours, peers


def shares(case: tuple[int, int, int, int, str], named: bool) -> tuple[float, dict[str, float]]:
    """Milliseconds of the bare limit, and every time as a multiple of it."""
    ours, peers = contestants(case, named)
    found = paired({name: block(run) for name, run in ours.items()}, rounds=15)
    share = ratios(found, "bare")
    share["cold"] = ratios(paired({name: ours[name] for name in ("bare", "seg-vis")}, rounds=15), "bare")["seg-vis"]
    if peers:
        share |= ratios(paired({"bare": block(ours["bare"]), **peers}, rounds=3), "bare")
    return statistics.median(found["bare"]) * 1000, share


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    rows = []
    for case in CASES:
        for named in (False, True):
            height, width, present, count, _ = case
            limit, share = shares(case, named)
            what = f"{height}x{width}, {present} of {count}{', names' if named else ''}"
            rows.append([what, f"{limit:.2f}", *(f"{share[k]:.2f}" if k in share else "-" for k in COLUMNS)])
    print_table("CPU time of a picture over the bare limit", ["picture", "bare ms", *COLUMNS], rows)
    print("targets: 1.3 plain, 1.5 with names; MMSegmentation over seg-vis 50 plain, 150 with names")


COLUMNS = ["seg-vis", "cold", "seg-vis, int64", "supervision", "MMSegmentation"]

if __name__ == "__main__":
    main()
