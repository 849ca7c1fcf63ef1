"""Accumulation windows in which every counted pixel weighs the same, whichever micro-batch it comes in."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

__all__ = ["Accumulates", "PixelWindow", "UpdatesParams", "counted_pixels", "window_length"]


class UpdatesParams(Protocol):
    """The optimizer wrapper of a training step."""

    def optim_context(self, model: nn.Module) -> AbstractContextManager[object]:
        """Return what stands round the forward pass, such as autocast."""

    def update_params(self, loss: torch.Tensor) -> None:
        """Compute gradients, and step."""


@runtime_checkable
class Accumulates(Protocol):
    """An optimizer wrapper that steps once for several micro-batches, and says where it is."""

    @property
    def inner_count(self) -> int:
        """How many micro-batches there were."""

    def scale_loss(self, loss: float) -> float:
        """Divide by the number of micro-batches."""


class PixelWindow:
    """Turns a mean of micro-batch means into the mean over all pixels of the window.

    A mean loss divides by the pixels that count in its own micro-batch; k micro-batches of b images would so differ
    from one batch of k * b, in which ignored pixels are left out once for all. Gradients gathered so far are scaled to
    their share of the pixels seen, and so is the loss to come; nothing waits for the device.
    """

    def __init__(self) -> None:
        self.seen: torch.Tensor | None = None

    def weighted(
        self, loss: torch.Tensor, counted: torch.Tensor, wrapper: Accumulates, parameters: Iterable[nn.Parameter]
    ) -> torch.Tensor:
        """Return the loss to hand to the wrapper, which divides it by the number of micro-batches."""
        undivided: torch.Tensor = loss / wrapper.scale_loss(1.0)
        if self.seen is None or wrapper.inner_count % window_length(wrapper) == 0:
            self.seen = counted
            return undivided
        total = self.seen + counted
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        share = torch.where(total == 0, 1, total)  # nothing counted so far: zeros stay zeros
        torch._foreach_mul_(gradients, self.seen / share)
        self.seen = total
        return undivided * (counted / share)


def window_length(wrapper: object) -> int:
    """Return the number of micro-batches in an optimizer step; 1 for a wrapper that does not say."""
    if not isinstance(wrapper, Accumulates):
        return 1
    return int(getattr(wrapper, "accumulative_counts", getattr(wrapper, "_accumulative_counts", 1)))


def counted_pixels(criterion: object, masks: torch.Tensor) -> torch.Tensor | None:
    """Return what a mean loss divides by: the pixels that count, or the sum of their class weights; None if unknown.

    A loss of your own says it by a method `counted_pixels(masks)`. Of a list of losses, one for each output, it is
    known where all divide alike (their `divides_by` are equal).

    Example:
        >>> counted_pixels(nn.CrossEntropyLoss(ignore_index=255), torch.tensor([[0, 1, 255]])).item()
        2
    """
    if isinstance(criterion, nn.ModuleList | list):
        rules = [_rule(one) for one in criterion]
        return counted_pixels(criterion[0], masks) if rules.count(rules[0]) == len(rules) else None
    own = getattr(criterion, "counted_pixels", None)
    if callable(own):
        found: torch.Tensor | None = own(masks)
        return found
    if not isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss) or criterion.reduction != "mean":
        return None
    counted = masks != criterion.ignore_index
    if criterion.weight is None:
        return counted.sum()
    return torch.where(counted, criterion.weight[torch.where(counted, masks, 0)], 0.0).sum()


def _rule(criterion: object) -> Any:
    """Return what differs between losses that divide by different numbers."""
    if isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss):
        return criterion.reduction, criterion.ignore_index, id(criterion.weight)
    return getattr(criterion, "divides_by", criterion)
