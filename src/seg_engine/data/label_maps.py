"""Label maps: the values that a file holds, whatever its kind, and what becomes of them for a choice of classes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_engine.data.files import decoded, file_bytes, full_pictures, orientation

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["check_range", "check_size", "read_labels", "renumbered"]

Labels = npt.NDArray[Any]

AS_STORED = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
TIFF_BITS, TIFF_COMPRESSION, TIFF_PHOTOMETRIC = 258, 259, 262
"""The tags BitsPerSample, Compression, and PhotometricInterpretation, which is 0 where white is 0."""

FAX = (2, 3, 4)
"""Kinds of compression whose files are written with white as 0, so that what one sees is what was meant."""

TURNED: dict[int, Callable[[Labels], Labels]] = {
    2: np.fliplr,
    3: lambda labels: labels[::-1, ::-1],
    4: np.flipud,
    5: np.transpose,
    6: lambda labels: np.rot90(labels, -1),
    7: lambda labels: labels[::-1, ::-1].T,
    8: np.rot90,
}
"""What EXIF's orientations ask for."""


def read_labels(path: str | Path, turn: bool = False) -> Labels:
    """Return the values of a label map, H x W: as stored, palette indices for a palette, 0 and 1 for one bit.

    Pillow reads what OpenCV would change, palettes and grey values of fewer than 8 bits; OpenCV reads the rest, which
    it does faster. A TIFF whose 0 is white gives what is stored, whatever its bits. The result is uint8 where the
    values fit, else int16 or int32.

    Args:
        path: The file.
        turn: Turn it as its own EXIF data says: so are images, unless they are read as stored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no whole picture, colours, several pages, or values that are no whole numbers.
    """
    data = file_bytes(path)
    labels = None if _is_plain_png(data) else _by_pillow(data, path)
    if labels is None:
        labels = _one_channel(decoded(data, path, AS_STORED), path)
    labels = labels if labels.dtype == np.uint8 else _narrowed(labels, path)
    return np.ascontiguousarray(TURNED.get(orientation(data), np.asarray)(labels)) if turn else labels


def _is_plain_png(data: npt.NDArray[np.uint8]) -> bool:
    """Tell whether this is a PNG file of 8 or 16 bits without a palette: the usual label map needs no second look."""
    return data[:8].tobytes() == b"\x89PNG\r\n\x1a\n" and data.size > 25 and data[24] >= 8 and data[25] != 3


def _by_pillow(data: npt.NDArray[np.uint8], path: str | Path) -> Labels | None:
    """Return indices of a palette, or grey values of 1, 2 or 4 bits; None for what OpenCV reads as it is."""
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data.tobytes()))
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path} declares more pixels than Pillow reads ({error}): cut it into tiles, or save it as a grey PNG of "
            "8 bits, which OpenCV reads"
        ) from error
    except (OSError, SyntaxError, ValueError):  # a kind that Pillow does not know (TIFF of 64 bits), or no picture
        return None
    with picture:
        try:
            return _few_bits(picture, data, path)
        except (OSError, SyntaxError, EOFError) as error:
            raise ValueError(f"{path} is cut off or damaged ({error}); copy it again, or leave it out") from error


def _few_bits(picture: Image.Image, data: npt.NDArray[np.uint8], path: str | Path) -> Labels | None:
    """Return the values of an opened picture; None where it has neither a palette nor fewer than 8 bits."""
    pages = full_pictures(picture)
    if pages > 1:
        raise ValueError(f"{path}: this label map holds {pages} pictures (pages, or frames); one is expected")
    bits, mode = _grey_bits(picture, data), picture.mode
    if mode in ("1", "L") and _white_is_zero(picture):
        top = np.uint8(1 if mode == "1" else 2**bits - 1)
        return top - np.asarray(picture).astype(np.uint8) // np.uint8(1 if mode == "1" else 255 // top)
    if mode in ("1", "P", "PA"):
        return np.asarray(picture if mode != "PA" else picture.getchannel(0)).astype(np.uint8, copy=False)
    if bits >= 8:
        return None
    return np.asarray(picture) // np.uint8(255 // (2**bits - 1))  # Pillow spreads few bits over 0 ... 255


def _grey_bits(picture: Image.Image, data: npt.NDArray[np.uint8]) -> int:
    """Return bits of each grey value in the file."""
    if picture.mode != "L":
        return 8
    if picture.format == "PNG":
        return int(data[24])
    return int(_tiff_tags(picture).get(TIFF_BITS, (8,))[0])


def _white_is_zero(picture: Image.Image) -> bool:
    """Tell whether a TIFF shows 0 as white: libraries turn up to 8 bits over, and a label is what is stored."""
    tags = _tiff_tags(picture)
    return tags.get(TIFF_PHOTOMETRIC) == 0 and tags.get(TIFF_COMPRESSION) not in FAX


def _tiff_tags(picture: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF; none of other pictures."""
    return getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}


def _one_channel(labels: Labels, path: str | Path) -> Labels:
    """Take grey values that are stored as colours for what they are; real colours are an error."""
    if labels.ndim == 2:
        return labels
    colours, rest = labels[..., :3], labels[..., 3:]
    if not (colours == colours[..., :1]).all():
        count = len(np.unique(colours.reshape(-1, colours.shape[-1]), axis=0))
        raise ValueError(
            f"{path}: this label map holds colours ({count} different ones); one grey value (or palette index) per "
            "class is expected"
        )
    if rest.size and rest.min() != rest.max():
        raise ValueError(
            f"{path}: this label map has transparent parts, and a label has no transparency; save it as grey values "
            "without an alpha channel"
        )
    return np.ascontiguousarray(colours[..., 0])


def _narrowed(labels: Labels, path: str | Path) -> Labels:
    """Return whole numbers in as few bytes as they need."""
    if labels.dtype.kind == "f":
        odd = labels[~(np.isfinite(labels) & (labels == np.rint(labels)))]
        if odd.size:
            raise ValueError(
                f"{path}: this label map holds {odd.flat[0]} ({odd.size} values are no whole numbers); "
                "one whole number per class is expected"
            )
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < -(2**31) or high >= 2**31:
        raise ValueError(f"{path}: labels from {low} to {high}; at most {2**31 - 1} is a label")
    return labels.astype(_smallest(int(low), int(high)))


def _smallest(low: int, high: int) -> type[np.uint8 | np.int16 | np.int32]:
    """Return the smallest type for these labels that OpenCV resizes and turns."""
    if low >= 0 and high <= 255:
        return np.uint8
    return np.int16 if low >= -(2**15) and high < 2**15 else np.int32


def check_size(labels: Labels, record: Mapping[str, Any]) -> None:
    """Check that labels have the size of the image's file: test pipelines read them after the image was resized."""
    image = record.get("img")
    size = record.get("ori_shape", None if image is None else image.shape[:2])
    if size is None or tuple(labels.shape[:2]) == tuple(size):
        return
    turned = tuple(labels.shape[1::-1]) == tuple(size)
    hint = (
        "; EXIF data may turn one of them: LoadImageFromFile(color_type='color_ignore_orientation') reads both "
        "as stored"
        if turned
        else ""
    )
    raise ValueError(
        f"{record['seg_map_path']}: this label map is {labels.shape[1]} x {labels.shape[0]} pixels, but its image "
        f"{record.get('img_path')} is {size[1]} x {size[0]}{hint}"
    )


def renumbered(
    labels: Labels, reduce_zero_label: bool, label_map: Mapping[int, int] | None, ignore: int = 255
) -> Labels:
    """Return labels after the reduction of label 0 and then a choice of classes: one look-up for all pixels.

    >>> renumbered(np.array([[0, 1, 2, 255]], np.uint8), True, {0: 1, 1: 0})
    array([[255,   1,   0, 255]], dtype=uint8)
    """
    if not reduce_zero_label and not label_map:
        return labels
    if labels.dtype == np.uint8:
        return np.asarray(cv2.LUT(labels, _targets(np.arange(256), reduce_zero_label, label_map or {}, ignore)))
    values, where = np.unique(labels, return_inverse=True)
    found: Labels = _targets(values.astype(np.int64), reduce_zero_label, label_map or {}, ignore)[where]
    return found.reshape(labels.shape)


def _targets(values: Labels, reduce_zero_label: bool, label_map: Mapping[int, int], ignore: int) -> Labels:
    """Return what each label becomes."""
    if reduce_zero_label:
        values = np.where((values == 0) | (values == ignore), ignore, values - 1)
    result = values.copy()
    for old, new in label_map.items():
        result[values == old] = new
    return result.astype(_smallest(int(result.min(initial=0)), int(result.max(initial=0))))


def _below_or_255(labels: Labels, classes: int) -> bool:
    """Tell whether all labels of bytes are below a number, or 255: one more makes 255 the smallest of all.

    A few rows at once stay in the processor's cache.
    """
    few = max(2**17 // max(labels.shape[1], 1), 1)
    strips = (labels[at : at + few] for at in range(0, len(labels), few))
    return all((strip + np.uint8(1)).max(initial=0) <= classes for strip in strips)


def check_range(labels: Labels, classes: int, ignore: int, path: str) -> None:
    """Check that every label names a class, or is the one that does not count.

    Raises:
        ValueError: one does not.
    """
    if labels.dtype == np.uint8:
        if labels.max(initial=0) < classes or (ignore == 255 and _below_or_255(labels, classes)):
            return
        there = cv2.calcHist([labels], [0], None, [256], [0, 256])  # five times as fast as numpy's count
        if not any(value != ignore for value in np.flatnonzero(there[classes:]) + classes):
            return
    values, counts = np.unique(labels, return_counts=True)
    wrong = ((values < 0) | (values >= classes)) & (values != ignore)
    if not wrong.any():
        return
    value, total = int(values[wrong][0]), int(counts[wrong].sum())
    mask = f" A mask of 0 and {value}? Save it as 0 and 1." if values.tolist() == [0, value] else ""
    raise ValueError(
        f"{path}: label {value} ({total} pixels) is outside the {classes} classes 0..{classes - 1}, and "
        f"ignore_index is {ignore}; are classes missing, or is reduce_zero_label meant?{mask}"
    )
