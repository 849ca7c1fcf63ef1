"""Batches that are not dealt out evenly: what the loss of a rank counts, so that the mean is that of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed

__all__ = ["SharedLoss", "weighed"]


class SharedLoss:
    """Stands for the optimizer wrapper in a step whose batch is not dealt out evenly, and weighs the loss.

    Whatever strategy averages the gradients over the ranks, 6 samples on 4 ranks (2, 2, 1, 1) so count alike. A rank
    without a sample goes through the step with another's, and weight 0.

    Args:
        wrapper: The real one; of several (`OptimWrapperDict`) each weighs its own loss.
        share: Samples of this rank times ranks, by the samples of all.
    """

    def __init__(self, wrapper: Any, share: float) -> None:
        self.wrapper, self.share = wrapper, share

    @property
    def inner_count(self) -> int:
        """Return how many micro-batches there were: defined, since a Protocol does not see what `__getattr__` gives."""
        return int(self.wrapper.inner_count)

    def scale_loss(self, loss: Any) -> Any:
        """Divide by the number of micro-batches."""
        return self.wrapper.scale_loss(loss)

    def update_params(self, loss: torch.Tensor, *args: Any, **options: Any) -> None:
        """Hand the weighed loss over."""
        self.wrapper.update_params(loss * self.share, *args, **options)

    def over_ranks(self, count: torch.Tensor) -> torch.Tensor:
        """Return a count (of pixels) as it is on each rank on the average, without what weighs nothing.

        An accumulation weighs its batches by it; a rank's own count, beside a loss weighed already, would count twice.
        """
        total = count * float(self.share > 0)
        distributed.all_reduce(total)
        return total / distributed.get_world_size()

    def __getitem__(self, name: str) -> SharedLoss:
        return SharedLoss(self.wrapper[name], self.share)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapper, name)


def weighed(outputs: Any, share: float) -> Any:
    """Return the numbers of a step (losses, accuracies) so weighed that their mean over ranks is that over samples.

    >>> weighed({"loss": torch.tensor(3.0), "name": "x"}, 0.5)
    {'loss': tensor(1.5000), 'name': 'x'}
    """
    if not isinstance(outputs, Mapping):
        return outputs
    return {name: value * share if _is_number(value) else value for name, value in outputs.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() == 1
