"""Transforms at both ends of a pipeline: reading image and labels, and packing them for the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from seg_runner.checks import flag

from seg_engine.data.checks import refuse_unknown, switch
from seg_engine.data.files import decoded, file_bytes, orientation, picture_in, read_picture
from seg_engine.data.jpeg_rows import JpegRows
from seg_engine.data.label_maps import check_range, check_size, read_labels, renumbered
from seg_engine.data.views import View

__all__ = ["LoadAnnotations", "LoadImageFromFile", "PackSegInputs"]

Record = dict[str, Any]
COLOUR_FLAGS = {
    "color": cv2.IMREAD_COLOR,
    "color_ignore_orientation": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    "grayscale": cv2.IMREAD_GRAYSCALE,
    "grayscale_ignore_orientation": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
    "unchanged": cv2.IMREAD_UNCHANGED,
}
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
        color_type: `color`, `grayscale` (H x W), or `unchanged`. The first two turn the image as its EXIF data says;
            `color_ignore_orientation`, `grayscale_ignore_orientation` and `unchanged` take the pixels as stored.
        imdecode_backend: Accepted for configs' sake; OpenCV reads everything.
        **ignored: Options of MMSegmentation about where files lie.
    """

    def __init__(
        self, to_float32: bool = False, color_type: str = "color", imdecode_backend: str = "cv2", **ignored: object
    ) -> None:
        if color_type not in COLOUR_FLAGS:
            raise ValueError(
                f"LoadImageFromFile: color_type={color_type!r}; one of {', '.join(COLOUR_FLAGS)} is expected"
            )
        refuse_unknown(LoadImageFromFile, ignored, {"backend_args", "ignore_empty", "file_client_args"})
        self.to_float32, self.flags = switch(to_float32, "LoadImageFromFile: to_float32"), COLOUR_FLAGS[color_type]
        self.turns = color_type in ("color", "grayscale")

    def __call__(self, record: Record) -> Record:
        """Add `img`, `img_shape` and `ori_shape`."""
        return self._with(record, read_picture(record["img_path"], self.flags))

    def lazily(self, record: Record) -> Record:
        """Add the same, where `img` may be a view of a file of which the first rows can be read by themselves."""
        path, colour = record["img_path"], self.flags & ~cv2.IMREAD_IGNORE_ORIENTATION == cv2.IMREAD_COLOR
        data = file_bytes(path)
        jpeg = JpegRows.of(data) if colour and not self.to_float32 else None
        if jpeg is None or (self.turns and orientation(data) != 1):
            return self._with(record, picture_in(data, path, self.flags))

        def rows(count: int) -> npt.NDArray[Any]:
            part = jpeg.read(count, self.flags)
            return decoded(data, path, self.flags) if part is None else part

        return self._with(record, View((*jpeg.size, 3), np.uint8, rows))

    def _with(self, record: Record, image: Any) -> Record:
        record["img"] = image.astype(np.float32) if self.to_float32 else image
        record["img_shape"] = record["ori_shape"] = image.shape[:2]
        record["turned_by_exif"] = self.turns
        return record


class LoadAnnotations:
    """Reads `seg_map_path` into `gt_seg_map` (H x W; uint8, or int16 or int32 where labels need it), and checks it.

    Args:
        reduce_zero_label: Label 0 does not count, all others are one less, before a choice of classes; None: what the
            data set says.
        imdecode_backend: Accepted for configs' sake; every kind of file has its reader.
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
        **ignored: object,
    ) -> None:
        known = {"backend_args", "with_bbox", "with_label", "with_seg", "file_client_args"}
        refuse_unknown(LoadAnnotations, ignored, known)
        own = reduce_zero_label
        self.reduce_zero_label = None if own is None else flag(own, "LoadAnnotations: reduce_zero_label")
        self.check_labels = flag(check_labels, "LoadAnnotations: check_labels")

    def __call__(self, record: Record) -> Record:
        """Add `gt_seg_map`, and its name to `seg_fields`."""
        labels = read_labels(record["seg_map_path"], turn=bool(record.get("turned_by_exif")))
        check_size(labels, record)
        record["gt_seg_map"] = self.numbered(labels, record)
        record["reduce_zero_label"] = self.reduces(record)
        record.setdefault("seg_fields", []).append("gt_seg_map")
        return record

    lazily = __call__

    def reduces(self, record: Mapping[str, Any]) -> bool:
        """Tell whether label 0 does not count."""
        own = self.reduce_zero_label
        return bool(record.get("reduce_zero_label", False) if own is None else own)

    def numbered(self, stored: npt.NDArray[Any], record: Mapping[str, Any]) -> npt.NDArray[Any]:
        """Return the labels that the values of a file become.

        Raises:
            ValueError: one names no class, and is not the ignored one.
        """
        ignore: int = record.get("ignore_index", 255)
        in_files: int = record.get("ignored_in_files", ignore)
        labels = renumbered(stored, self.reduces(record), record.get("label_map"), in_files)
        if self.check_labels and record.get("classes"):
            check_range(labels, len(record["classes"]), ignore, record["seg_map_path"])
        return labels


def planes(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy of H x W x C pixels as C x H x W; OpenCV takes a quarter of numpy's time for several of them."""
    if image.dtype not in (np.uint8, np.uint16, np.int16, np.int32, np.float32) or image.shape[2] < 2:
        return np.ascontiguousarray(image.transpose(2, 0, 1))
    made = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(image, list(made))
    return made


class PackSegInputs:
    """Turns a record into what models take: `inputs` (C x H x W tensor) and `data_samples` (a SegDataSample).

    Args:
        meta_keys: Which facts of the record the sample keeps, where they are there.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def __call__(self, record: Record) -> Record:
        """Return `dict(inputs=..., data_samples=...)`."""
        import torch
        from seg_runner import PixelData, SegDataSample

        image = record["img"]
        image = image[..., None] if image.ndim == 2 else image
        keys = (*self.meta_keys, "added_pixels")  # a prediction is wrong without them
        sample = SegDataSample(metainfo={key: record[key] for key in keys if key in record})
        if "gt_seg_map" in record:
            labels = record["gt_seg_map"].astype(np.int64, order="C")
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(labels)[None])
        return {"inputs": torch.from_numpy(planes(image)), "data_samples": sample}
