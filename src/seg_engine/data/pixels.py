"""Pixels given as an array, made what the config's own reader gives for a file that holds them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_engine.data.loading import COLOUR_FLAGS

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["as_read", "is_reader", "reads_labels", "reads_pixels", "shown"]

Pixels = npt.NDArray[Any]

COLOURS = dict.fromkeys(("P", "CMYK", "YCbCr", "HSV", "LAB"), "RGB")
MODES = {**COLOURS, **dict.fromkeys(("LA", "PA", "RGBa"), "RGBA"), "1": "L"}
"""Pillow's modes that OpenCV reads as others: with as many channels as a file of that kind gives."""


def reads_labels(name: str) -> bool:
    """Tell whether a transform of this name reads labels, which prediction has none of.

    >>> reads_labels("LoadAnnotations"), reads_labels("LoadImageFromFile")
    (True, False)
    """
    words = ("Annotation", "Label", "Mask", "SegMap", "Depth")
    return name.startswith(("Load", "Read")) and any(word in name for word in words)


def is_reader(name: str) -> bool:
    """Tell whether a transform of this name reads the image.

    >>> is_reader("LoadImageFromFile"), is_reader("ReadBands"), is_reader("Resize")
    (True, True, False)
    """
    return name.startswith(("Load", "Read", "Open", "Decode")) and not reads_labels(name)


def reads_pixels(reader: object) -> int | None:
    """Tell how OpenCV reads for this reader (a flag of `cv2.imread`); None for a reader of another kind."""
    flags = getattr(reader, "flags", None)
    if isinstance(flags, int):
        return flags
    name = str(getattr(reader, "color_type", "color" if reader is None else "")).removesuffix("_ignore_orientation")
    return COLOUR_FLAGS.get(name)


def as_read(given: object, reader: object, name: str = "the image") -> Pixels:
    """Return pixels as the reader would give them for a file that holds them.

    A reader of 8 bits (`color`, `grayscale`) makes 8 bits of 16, three channels of one, one of three. Three channels
    are given as RGB and become BGR, as OpenCV reads them; other numbers of channels keep their order. Of a Pillow
    picture with transparency four channels are RGBA, and become BGRA; one that was opened from a file is turned by its
    EXIF data where files are. A reader that is none of ours leaves all as it is.

    Raises:
        ValueError: it holds no pixels, or none that a picture can have.
    """
    flags = reads_pixels(reader)
    pixels = _checked(given, flags)
    if flags is None:
        return pixels
    if flags != cv2.IMREAD_UNCHANGED and pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count, size = int((~np.isfinite(pixels)).sum()), " x ".join(map(str, pixels.shape))
        raise ValueError(
            f"predict: {name} holds {count} values (of {size}) that are NaN or infinite, and the model was trained on "
            "8 bits: 0 ... 255; give each pixel such a number"
        )
    pixels = _values(pixels, eight_bits=flags != cv2.IMREAD_UNCHANGED)
    pixels = _channels(pixels, flags & ~cv2.IMREAD_IGNORE_ORIENTATION if flags >= 0 else flags)
    return pixels.astype(np.float32) if getattr(reader, "to_float32", False) else pixels


def _of_pillow(picture: Image.Image, flags: int | None) -> Pixels:
    """Return the pixels of a Pillow picture, with the channels that OpenCV finds in a file of that kind."""
    from PIL import ImageFile, ImageOps

    if isinstance(picture, ImageFile.ImageFile) and flags is not None and _turns(flags):
        picture = ImageOps.exif_transpose(picture)
    mode = MODES.get(picture.mode, picture.mode)
    if picture.mode in ("P", "RGB") and "transparency" in picture.info:
        mode = "RGBA"
    pixels = np.asarray(picture if mode == picture.mode else picture.convert(mode))
    return pixels[..., [2, 1, 0, 3]] if mode == "RGBA" and flags == cv2.IMREAD_UNCHANGED else pixels


def _turns(flags: int) -> bool:
    """Tell whether OpenCV turns what it reads by the file's EXIF data."""
    return flags != cv2.IMREAD_UNCHANGED and not flags & cv2.IMREAD_IGNORE_ORIENTATION


def _checked(given: object, flags: int | None) -> Pixels:
    """Return an array of pixels.

    Raises:
        ValueError: it is something else.
    """
    wanted = "a file, H x W x channels pixels (3 channels: RGB) or H x W grey ones, or a list of these"
    pixels = given
    if not isinstance(given, np.ndarray) and hasattr(given, "__array_interface__"):
        from PIL import Image

        pixels = _of_pillow(given, flags) if isinstance(given, Image.Image) else np.asarray(given)
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "buif":
        kind = getattr(pixels, "dtype", type(pixels).__name__)
        raise ValueError(f"predict: {wanted}, is expected, not {kind} {tuple(getattr(pixels, 'shape', ())) or ''}")
    if not pixels.size:
        raise ValueError(f"predict: the image holds no pixel: its shape is {pixels.shape} (H x W x channels)")
    if pixels.ndim not in (2, 3):
        hint = ": several images are given as a list" if pixels.ndim == 4 else ""
        raise ValueError(f"predict: {wanted}, is expected, not an array of shape {pixels.shape}{hint}")
    if pixels.ndim == 3 and pixels.shape[0] <= 4 < 16 < min(pixels.shape[1:]):
        raise ValueError(f"predict: the channels come last (H x W x channels), and this array is {pixels.shape}")
    return pixels


def _values(pixels: Pixels, eight_bits: bool) -> Pixels:
    """Return values of a type that a file can hold, and torch can take."""
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if kind == "f":
        if eight_bits and 0 < pixels.max() <= 1:
            text = "predict: these pixels are within 0 ... 1, and the model was trained on 0 ... 255"
            warnings.warn(text, stacklevel=5)
        return pixels.astype(np.float32)
    if eight_bits and pixels.dtype != np.uint8:
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > 65535:
            raise ValueError(f"predict: pixels from {low} to {high}; the model was trained on 8 bits: 0 ... 255")
        deep = pixels.dtype == np.uint16 or high > 255
        return (pixels.astype(np.uint16) >> (8 if deep else 0)).astype(np.uint8)
    return pixels if pixels.dtype in (np.uint8, np.uint16, np.int16, np.int32) else pixels.astype(np.int64)


def _channels(pixels: Pixels, flags: int) -> Pixels:
    """Return as many channels as OpenCV gives, blue first."""
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    count = 1 if pixels.ndim == 2 else pixels.shape[2]
    if flags == cv2.IMREAD_COLOR and count == 1:
        return np.repeat(pixels[..., None], 3, axis=2)
    if flags != cv2.IMREAD_UNCHANGED and count == 4:
        pixels, count = pixels[..., :3], 3
    if flags == cv2.IMREAD_GRAYSCALE and count == 3:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY))
    return np.ascontiguousarray(pixels[..., ::-1]) if count == 3 else pixels


def shown(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Return what was read as a picture for people: H x W x 3, RGB, 8 bits."""
    from seg_vis import to_rgb

    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, posinf=0.0, neginf=0.0)
    return np.array(to_rgb(pixels, order="bgr", layout="hwc"))
