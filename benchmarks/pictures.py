"""What drawing costs: the bare limit, seg-vis, supervision and MMSegmentation, in turns.

The bare limit is the shortest code with the fastest calls that paints and names the classes, and nothing else: no
ignored label, no checks, names wherever they fall, in strokes instead of a font. It and seg-vis get labels as bytes;
"int64" gets them as networks give them, while the bare time stays that for bytes. "Cold" is one call right after a
garbage collection, against the bare call in the same state; the others are means over blocks of calls.
Asked of MMSegmentation is 50 times the time of seg-vis, with names 150 times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from _contest import Contest, Contestant, Goal, main

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


def supervision_plain(palette: np.ndarray, names: list[str] | None) -> Callable[..., np.ndarray]:
    """supervision's annotators, from the same label map."""
    import supervision as sv

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


def mmseg_plain(palette: np.ndarray, classes: list[str], named: bool) -> Callable[..., None]:
    """MMSegmentation's visualizer, from a data sample."""
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


Case = tuple[int, int, int, int, str]
Work = Callable[[], object]


def set_up(case: Case, make: Callable[..., Work]) -> Work:
    """The work of a contestant on the scene of a case."""
    from seg_vis import get_classes, get_palette

    height, width, present, _, data_set = case
    return make(*scene(height, width, present), get_palette(data_set), get_classes(data_set))


def drawers(data_set: str, named: bool) -> dict[str, Callable[..., Work]]:
    """Each contestant: from an image, labels, colours and names to the work."""

    def bare(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, classes: list[str]) -> Work:
        if named:
            return lambda: bare_names(image, labels, palette, classes)
        return lambda: bare_plain(image, labels, palette)

    def ours(image: np.ndarray, labels: np.ndarray, *_: object) -> Work:
        from seg_vis import overlay

        return lambda: overlay(image, labels, palette=data_set, alpha=ALPHA, with_labels=named)

    def ours_wide(image: np.ndarray, labels: np.ndarray, *_: object) -> Work:
        return ours(image, labels.astype(np.int64))

    def supervision(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, classes: list[str]) -> Work:
        draw = supervision_plain(palette, classes if named else None)
        return lambda: draw(image, labels)

    def mmsegmentation(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, classes: list[str]) -> Work:
        draw, wide = mmseg_plain(palette, classes, named), labels.astype(np.int64)
        return lambda: draw(image, wide)

    made = {"bare": bare, "seg-vis": ours, "seg-vis, int64": ours_wide}
    return {**made, "supervision": supervision, "MMSegmentation": mmsegmentation}


PEERS = {"supervision": "supervision", "MMSegmentation": "mmseg"}


def contests(case: Case, named: bool) -> list[Contest]:
    """Of one picture: many calls in a turn, and one."""
    height, width, present, count, data_set = case
    title = f"{height}x{width}, {present} of {count} classes{', names' if named else ''}"
    makers = drawers(data_set, named)
    works: dict[str, Any] = {name: partial(set_up, case, make) for name, make in makers.items()}
    peers = {name: Contestant(works.pop(name), PEERS[name], "parity", rounds=3) for name in PEERS}
    entered = works | (peers if present < 100 else {})  # theirs take seconds for a picture of so many
    goals = [Goal("seg-vis", ratio=1.5 if named else 1.3)]
    cold = {name: works[name] for name in ("bare", "seg-vis")}
    return [
        Contest(title, entered, rounds=25, seconds=6, least=0.02, goals=goals),
        Contest(f"{title}, cold", cold, rounds=40, seconds=4, least=0.0),
    ]


CONTESTS = [each for case in CASES for named in (False, True) for each in contests(case, named)]

if __name__ == "__main__":
    main(CONTESTS)
