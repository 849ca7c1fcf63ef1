"""What metrics read off samples, which are objects or nested dicts with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["compared", "label_maps", "map_of", "sample_field"]


def label_maps(sample: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a sample's predicted and true label map, H x W each.

    Raises:
        ValueError: one is missing, or they do not have the same pixels.
    """
    return compared(sample, "pred_sem_seg", "gt_sem_seg", "label map")


def compared(sample: object, predicted: str, true: str, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two maps of a sample that have the same pixels.

    Raises:
        ValueError: one is missing, or they do not.
    """
    pred, truth = map_of(sample, predicted), map_of(sample, true)
    if pred.shape != truth.shape:
        raise ValueError(
            f"{sample_field(sample, 'img_path', 'a sample')}: the prediction has {tuple(pred.shape)} pixels, the "
            f"{kind} {tuple(truth.shape)}: predictions are compared at the {kind}'s own size (ori_shape)"
        )
    return pred, truth


def map_of(sample: object, name: str) -> torch.Tensor:
    """Return a sample's map of this name as a tensor, H x W where it has one channel.

    Raises:
        ValueError: the sample has none.
    """
    field = sample_field(sample, name, None)
    data = field.get("data") if isinstance(field, Mapping) else getattr(field, "data", None)
    if data is None:
        hint = ": is LoadAnnotations missing in the pipeline of the data set?" if name == "gt_sem_seg" else ""
        raise ValueError(f"a data sample has no {name!r}, which this metric needs{hint}")
    values = data if isinstance(data, torch.Tensor) else torch.from_numpy(np.asarray(data))
    return values[0] if values.dim() == 3 and len(values) == 1 else values


def sample_field(sample: object, name: str, default: object) -> Any:
    """Return what a sample, or a dict with the same names, has under a name."""
    return sample.get(name, default) if hasattr(sample, "get") else getattr(sample, name, default)
