"""Data samples by shape: label maps, depth maps and where the image came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["field", "image_path"]


def field(sample: Any, name: str) -> Any:
    """`gt_sem_seg` and the like of a data sample or a dict, as an array or tensor; None where it is not there."""
    if sample is None:
        return None
    value = sample.get(name) if isinstance(sample, Mapping) else getattr(sample, name, None)
    if value is not None and not hasattr(value, "dtype"):
        value = getattr(value, "data", value)
    return value


def image_path(sample: Any) -> str | None:
    """The path of the image that a sample was made from; None where nothing says."""
    for holder in (sample, getattr(sample, "metainfo", None)):
        path = field(holder, "img_path")
        if path is not None:
            return str(path)
    return None
