"""Transforms at both ends of a pipeline: reading image and labels, and packing them for the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_engine.files import read_picture

__all__ = ["LoadAnnotations", "LoadImageFromFile", "PackSegInputs"]

Record = dict[str, Any]
COLOUR_FLAGS = {"color": cv2.IMREAD_COLOR, "grayscale": cv2.IMREAD_GRAYSCALE, "unchanged": cv2.IMREAD_UNCHANGED}
META_KEYS = (
    "img_path",
    "seg_map_path",
    "ori_shape",
    "img_shape",
    "pad_shape",
    "scale_factor",
    "flip",
    "flip_direction",
    "reduce_zero_label",
)


class LoadImageFromFile:
    """Reads `img_path` into `img` (H x W x 3, BGR, uint8).

    Args:
        to_float32: Give floats.
        color_type: `color`, `grayscale` (H x W), or `unchanged`.
        imdecode_backend: Accepted for configs' sake; OpenCV reads everything.
        **ignored: Options of MMSegmentation about where files lie.
    """

    def __init__(
        self, to_float32: bool = False, color_type: str = "color", imdecode_backend: str = "cv2", **ignored: Any
    ) -> None:
        if color_type not in COLOUR_FLAGS:
            raise ValueError(
                f"LoadImageFromFile: color_type={color_type!r}; one of {', '.join(COLOUR_FLAGS)} is expected"
            )
        _refuse("LoadImageFromFile", ignored, {"backend_args", "ignore_empty", "file_client_args"})
        self.to_float32, self.flags = to_float32, COLOUR_FLAGS[color_type]

    def __call__(self, record: Record) -> Record:
        """Adds `img`, `img_shape` and `ori_shape`."""
        image: npt.NDArray[Any] = read_picture(record["img_path"], self.flags)
        record["img"] = image.astype(np.float32) if self.to_float32 else image
        record["img_shape"] = record["ori_shape"] = image.shape[:2]
        return record


class LoadAnnotations:
    """Reads `seg_map_path` into `gt_seg_map` (H x W, uint8), and checks it.

    Args:
        reduce_zero_label: Label 0 becomes 255, all others one less; None: what the data set says.
        imdecode_backend: Accepted for configs' sake; OpenCV reads everything.
        check_labels: Labels outside the data set's classes are an error; False lets them through.
        **ignored: Options of MMSegmentation about where files lie.

    Raises:
        ValueError: Labels that the classes do not reach to, a size other than the image's, or a map with colours in
            it; the message has the path.
    """

    def __init__(
        self,
        reduce_zero_label: bool | None = None,
        imdecode_backend: str = "pillow",
        check_labels: bool = True,
        **ignored: Any,
    ) -> None:
        _refuse("LoadAnnotations", ignored, {"backend_args", "with_bbox", "with_label", "with_seg", "file_client_args"})
        self.reduce_zero_label, self.check_labels = reduce_zero_label, check_labels

    def __call__(self, record: Record) -> Record:
        """Adds `gt_seg_map`, and its name to `seg_fields`."""
        path = record["seg_map_path"]
        labels = read_labels(path)
        check_size(labels, record)
        reduce = record.get("reduce_zero_label", False) if self.reduce_zero_label is None else self.reduce_zero_label
        ignore = record.get("ignore_index", 255)
        labels = renumbered(labels, bool(reduce), record.get("label_map"))
        if self.check_labels and record.get("classes"):
            check_range(labels, len(record["classes"]), ignore, path)
        record["gt_seg_map"] = labels
        record["reduce_zero_label"] = bool(reduce)
        record.setdefault("seg_fields", []).append("gt_seg_map")
        return record


def read_labels(path: str) -> npt.NDArray[np.uint8]:
    """A label map, grey values or palette indices; a map with colours is an error.

    OpenCV turns palette indices into colours, so a PNG with a palette is read by Pillow where it is installed.
    """
    labels = read_picture(path, cv2.IMREAD_UNCHANGED)
    if labels.ndim == 3:
        labels = _palette_indices(path)
    if labels.dtype == np.uint16 and labels.max() <= 255:
        labels = labels.astype(np.uint8)
    if labels.dtype != np.uint8:
        raise ValueError(f"{path}: labels up to {labels.max()} ({labels.dtype}); at most 255 fit into a label map")
    return labels


def _palette_indices(path: str) -> npt.NDArray[np.uint8]:
    from seg_engine.indexed_png import read_indices

    indices = read_indices(path)
    if indices is None:
        raise ValueError(
            f"{path}: this label map holds colours; one grey value (or palette index) per class is expected"
        )
    return indices


def check_size(labels: npt.NDArray[Any], record: Mapping[str, Any]) -> None:
    """Labels must be of the size that the image's file has: test pipelines read them after the image was resized."""
    image = record.get("img")
    size = record.get("ori_shape", None if image is None else image.shape[:2])
    if size is not None and tuple(labels.shape[:2]) != tuple(size):
        raise ValueError(
            f"{record['seg_map_path']}: this label map is {labels.shape[1]} x {labels.shape[0]} pixels, but its image "
            f"{record.get('img_path')} is {size[1]} x {size[0]}"
        )


def renumbered(
    labels: npt.NDArray[np.uint8], reduce_zero_label: bool, label_map: Mapping[int, int] | None
) -> npt.NDArray[np.uint8]:
    """Labels after a choice of classes and the reduction of label 0: one look-up for all pixels.

    >>> renumbered(np.array([[0, 1, 2, 255]], np.uint8), True, None)
    array([[255,   0,   1, 255]], dtype=uint8)
    """
    if not reduce_zero_label and not label_map:
        return labels
    table = np.arange(256)
    if label_map:
        for old, new in label_map.items():
            table[old] = new
    if reduce_zero_label:
        table = np.where((table == 0) | (table == 255), 255, table - 1)
    return table.astype(np.uint8)[labels]


def check_range(labels: npt.NDArray[np.uint8], classes: int, ignore: int, path: str) -> None:
    """Every label must name a class, or be the one that does not count."""
    counts = np.bincount(labels.ravel(), minlength=256)
    wrong = [label for label in np.flatnonzero(counts[classes:]) + classes if label != ignore]
    if wrong:
        total = int(sum(counts[label] for label in wrong))
        raise ValueError(
            f"{path}: label {int(wrong[0])} ({total} pixels) is outside the {classes} classes 0..{classes - 1}, and "
            f"ignore_index is {ignore}; are classes missing, or is reduce_zero_label meant?"
        )


class PackSegInputs:
    """Turns a record into what models take: `inputs` (C x H x W tensor) and `data_samples` (a SegDataSample).

    Args:
        meta_keys: Which facts of the record the sample keeps, where they are there.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def __call__(self, record: Record) -> Record:
        """`dict(inputs=..., data_samples=...)`."""
        import torch
        from seg_runner import PixelData, SegDataSample

        image = record["img"]
        image = image[..., None] if image.ndim == 2 else image
        sample = SegDataSample(metainfo={key: record[key] for key in self.meta_keys if key in record})
        if "gt_seg_map" in record:
            labels = np.ascontiguousarray(record["gt_seg_map"]).astype(np.int64)
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
        return {"inputs": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), "data_samples": sample}


def _refuse(owner: str, given: Mapping[str, Any], ignored: set[str]) -> None:
    """An option that nobody knows is a misspelt one."""
    unknown = sorted(set(given) - ignored)
    if unknown:
        raise TypeError(f"{owner} has no option {unknown[0]!r}")
