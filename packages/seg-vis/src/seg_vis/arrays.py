"""Arrays and tensors in any common form, turned into RGB pictures and label maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Image", "Labels", "as_labels", "check_bands", "check_same_size", "check_stretch", "to_numpy", "to_rgb"]

Image = NDArray[np.uint8]
Labels = NDArray[Any]


def to_numpy(value: object, name: str = "the value") -> NDArray[Any]:
    """Return a numpy array from an array, a nested list, or a tensor of any library on any device; needs no torch."""
    if isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be an array or a tensor, got {value!r}: read the file first, with cv2.imread")
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        value = (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not an array: its rows have different lengths") from error
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__} (dtype {array.dtype})")
    return array


def no_nan(array: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinity, saying how many and where the first is."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        first = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name} holds {len(bad)} NaN or infinite values of {array.size}, the first at index {first}")


def as_labels(labels: ArrayLike, name: str = "labels") -> Labels:
    """Return a label map as an H x W integer array.

    Takes H x W, 1 x H x W or H x W x 1, arrays or tensors, any integer type, booleans, or floats that hold integers.

    Raises:
        ValueError: empty, of another shape, NaN, or fractions.
    """
    array = to_numpy(labels, name)
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {array.shape}")
    plane = array
    if array.ndim == 3:
        plane = array[0] if array.shape[0] == 1 else array[..., 0] if array.shape[-1] == 1 else array
    if plane.ndim != 2:
        raise ValueError(f"{name} must be H x W or 1 x H x W, got shape {array.shape}")
    if plane.dtype.kind == "f":
        no_nan(plane, name)
        whole = plane.astype(np.int64)
        if (whole != plane).any():
            raise ValueError(f"{name} holds {plane.dtype} values that are no whole numbers: take argmax first")
        return whole
    return plane.astype(np.uint8) if plane.dtype.kind == "b" else plane


def check_same_size(image: Image, labels: Labels, name: str = "labels") -> None:
    """Refuse a label map of another height or width than the image."""
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"{name} is {labels.shape[0]} x {labels.shape[1]} and the image {image.shape[0]} x {image.shape[1]} "
            "(height x width): resize one of them first"
        )


def to_rgb(
    image: ArrayLike,
    *,
    order: str = "rgb",
    bands: Sequence[int] | None = None,
    stretch: tuple[float, float] | None = None,
    layout: str | None = None,
) -> Image:
    """Return any image as H x W x 3 uint8, RGB, contiguous: what every other function here takes and gives.

    Three channels (or one, or RGBA, whose alpha is dropped) stay as they are. Of two, the first is shown grey; of more
    than four, the first three, or those that `bands` names.
    uint8 is kept; uint16 is divided by 257; floats within [0, 1] are multiplied by 255, within [0, 255] rounded. All
    other values, and any with `stretch`, are stretched between two percentiles over the chosen bands.

    Args:
        image: H x W, H x W x C or C x H x W; array or tensor on any device.
        order: `"rgb"`, or `"bgr"` for what `cv2.imread` gives.
        bands: three channel numbers, for red, green and blue, or one for grey.
        stretch: lower and upper percentile, such as `(2, 98)`, that become 0 and 255.
        layout: `"hwc"` or `"chw"`. Without it a tensor is C x H x W unless its last axis is 1, 3 or 4 and its first is
            not, and an array H x W x C unless its first axis is 1, 3 or 4 and the others are 16 at least.

    Raises:
        ValueError: empty, NaN, another number of axes, or bands that are not there.

    Example:
        >>> import numpy as np
        >>> int(to_rgb(np.full((2, 2, 3), 0.5)).max())
        128
        >>> to_rgb(np.zeros((4, 5, 12), np.uint16), bands=(7, 3, 2)).shape
        (4, 5, 3)
    """
    if is_plain(image) and order == "rgb" and (bands, stretch, layout) == (None, None, None):
        return np.ascontiguousarray(image)
    array = to_numpy(image, "image")
    if array.size == 0:
        raise ValueError(f"image is empty: shape {array.shape}")
    if order not in ("rgb", "bgr"):
        raise ValueError(f"order must be 'rgb' or 'bgr', got {order!r}")
    no_nan(array, "image")
    picked = pick_bands(channels_last(array, layout or guess_layout(array, hasattr(image, "detach"))), bands)
    scaled = to_uint8(picked, stretch)
    return np.ascontiguousarray(scaled[..., ::-1] if order == "bgr" else scaled)


def is_plain(image: ArrayLike) -> bool:
    """Tell whether this is an array of RGB bytes already (the common case, and the one that has to be fast)."""
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size > 0
        and (image.shape[0] not in (1, 3, 4))
    )


def guess_layout(array: NDArray[Any], tensor: bool) -> str:
    """Return where the channels are, by the size of the axes."""
    if array.ndim != 3:
        return "hwc"
    few_first, few_last = array.shape[0] in (1, 3, 4), array.shape[-1] in (1, 3, 4)
    if tensor:
        return "hwc" if few_last and not few_first else "chw"
    return "chw" if few_first and not few_last and min(array.shape[1:]) >= 16 else "hwc"


def channels_last(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return H x W x C of H x W, H x W x C or C x H x W."""
    if layout not in ("hwc", "chw"):
        raise ValueError(f"layout must be 'hwc' or 'chw', got {layout!r}")
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise ValueError(f"image must be H x W, H x W x C or C x H x W, got shape {array.shape}")
    return array.transpose(1, 2, 0) if layout == "chw" else array


def pick_bands(array: NDArray[Any], bands: Sequence[int] | None) -> NDArray[Any]:
    """Return three of the channels, or one three times for grey."""
    count = array.shape[2]
    if bands is None:
        bands = (0, 1, 2) if count >= 3 else (0, 0, 0)
        return array if count == 3 else array[..., list(bands)]
    chosen = check_bands(bands)
    if not all(-count <= band < count for band in chosen):
        raise ValueError(f"bands must be one or three channels out of 0 ... {count - 1}, got {bands!r}")
    return array[..., np.resize(chosen, 3)]


def check_bands(bands: ArrayLike) -> list[int]:
    """Return one or three channel numbers, counted from the end where they are negative.

    Raises:
        ValueError: something else.
    """
    chosen = np.atleast_1d(bands)
    if chosen.shape not in ((1,), (3,)) or chosen.dtype.kind not in "iu":
        raise ValueError(f"bands must be one or three channels such as (2, 1, 0), got {bands!r}")
    return [int(band) for band in chosen]


def check_stretch(stretch: ArrayLike) -> tuple[float, float]:
    """Return two percentiles, the lower one first.

    Raises:
        ValueError: something else.
    """
    ends = np.atleast_1d(stretch)
    if ends.shape != (2,) or ends.dtype.kind not in "iuf" or not 0 <= ends[0] < ends[1] <= 100:
        raise ValueError(f"stretch must be two percentiles such as (2, 98), the lower one first, got {stretch!r}")
    return float(ends[0]), float(ends[1])


def to_uint8(array: NDArray[Any], stretch: tuple[float, float] | None) -> Image:
    """Return values as 0 ... 255, by type and range, or between two percentiles."""
    if stretch is None:
        if array.dtype == np.uint8:
            return array
        if array.dtype == np.bool_:
            return array.astype(np.uint8) * np.uint8(255)
        if array.dtype == np.uint16:
            return np.rint(array / 257.0).astype(np.uint8)
        low, high = float(array.min()), float(array.max())
        if low >= 0 and high <= 255:
            unit = array.dtype.kind == "f" and high <= 1
            return np.rint(np.asarray(array, np.float64) * (255.0 if unit else 1.0)).astype(np.uint8)
        stretch = (2.0, 98.0)
    bottom, top = np.percentile(array, check_stretch(stretch))
    spread = max(float(top - bottom), 1e-12)
    share = np.clip((array.astype(np.float64) - bottom) / spread, 0.0, 1.0)
    scaled: Image = np.rint(share * 255.0).astype(np.uint8)
    return scaled
