"""What metrics read off samples, which are objects or nested dicts with the same names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from seg_runner.distributed.world import World

__all__ = ["LogitsWatch", "compared", "label_maps", "map_of", "sample_field"]


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


class LogitsWatch:
    """Counts the images of a validation whose `seg_logits` are not finite; nothing waits for the device before `told`.

    Minus infinity alone is a class that is never taken, and no fault.

    Example:
        >>> watch = LogitsWatch()
        >>> for value in (1.0, torch.nan, torch.inf, -torch.inf):
        ...     watch.add([{"seg_logits": {"data": torch.tensor([1.0, value]).view(2, 1, 1)}}])
        >>> watch.told("validation")
        'validation: the logits of 2 of 4 images are not finite, but they are counted anyway'
    """

    def __init__(self) -> None:
        self._bad: dict[torch.device, torch.Tensor] = {}
        self._count = 0

    def add(self, samples: Iterable[Any]) -> None:
        """Look at the samples of a batch; those without logits are none."""
        for sample in samples:
            field = sample_field(sample, "seg_logits", None)
            logits = field.get("data") if isinstance(field, Mapping) else getattr(field, "data", None)
            if isinstance(logits, torch.Tensor) and logits.is_floating_point() and logits.numel():
                bad = torch.isfinite(logits.detach().amax()).logical_not()
                known = self._bad.get(logits.device)
                self._bad[logits.device] = bad.long() if known is None else known + bad
                self._count += 1

    def told(self, what: str, world: World | None = None) -> str | None:
        """Return one line on the images of all processes; None where all are finite."""
        own = sum(int(count) for count in self._bad.values()), self._count
        bad, count = map(sum, zip(*(world or World()).gather(own), strict=True))
        if not bad:
            return None
        return f"{what}: the logits of {bad} of {count} images are not finite, but they are counted anyway"
