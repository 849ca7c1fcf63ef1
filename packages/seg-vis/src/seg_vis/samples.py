"""Data samples by shape: label maps, depth maps and where the image came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_vis.checks import did_you_mean

__all__ = ["check_sample", "field", "image_path"]

PARTS = ("gt_sem_seg", "pred_sem_seg", "gt_depth_map", "pred_depth_map")


def check_sample(sample: object) -> None:
    """Refuse what can be no data sample, rather than to draw nothing of it.

    Raises:
        TypeError: an array or a text.
        ValueError: a dict with none of the parts that are drawn.
    """
    if isinstance(sample, str | list | tuple) or hasattr(sample, "dtype"):
        raise TypeError(f"a data sample has {', '.join(PARTS)} or some of them, got {type(sample).__name__}")
    if isinstance(sample, Mapping) and sample and not set(PARTS) & set(sample):
        hint = next(filter(None, (did_you_mean(str(key), PARTS) for key in sample)), "")
        found = ", ".join(map(str, sample))
        raise ValueError(f"a data sample has {', '.join(PARTS)} or some of them, got {found}{hint}")


def field(sample: object, name: str) -> Any:
    """Return `gt_sem_seg` or the like of a data sample or a dict, as an array or tensor; None without it."""
    if sample is None:
        return None
    value = sample.get(name) if isinstance(sample, Mapping) else getattr(sample, name, None)
    if value is not None and not hasattr(value, "dtype"):
        value = getattr(value, "data", value)
    return value


def image_path(sample: object) -> str | None:
    """Return the path of the image that a sample was made from; None where nothing says."""
    for holder in (sample, getattr(sample, "metainfo", None)):
        path = field(holder, "img_path")
        if path is not None:
            return str(path)
    return None
