"""Losses of a model that returns logits: the default one, and any other called so that a batch never gives NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from seg_runner.errors import add_note
from seg_runner.given import whole
from seg_runner.windows import counted_pixels

__all__ = ["DefaultLoss", "checked_loss", "loss_of"]


class DefaultLoss:
    """Cross-entropy, or binary cross-entropy where there is one channel; both leave ignored pixels out."""

    def __init__(self, ignore_index: int = 255) -> None:
        self.ignore_index = whole(ignore_index, "ignore_index", None)
        self._looked_at: set[torch.device] = set()

    def counted_pixels(self, masks: torch.Tensor) -> torch.Tensor:
        """How many pixels the mean is taken over."""
        return (masks != self.ignore_index).sum()

    def __call__(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """The mean over the pixels that count; 0 where there is none."""
        counted = masks != self.ignore_index
        if logits.shape[1] > 1:
            # A mean over no pixel is NaN; its gradients are zeros already.
            return F.cross_entropy(logits, masks, ignore_index=self.ignore_index).masked_fill(~counted.any(), 0.0)
        self._check_binary(masks, counted)
        each = F.binary_cross_entropy_with_logits(logits[:, 0], masks.to(logits.dtype), reduction="none")
        return (each * counted).sum() / counted.sum().clamp_min(1)

    def _check_binary(self, masks: torch.Tensor, counted: torch.Tensor) -> None:
        """Refuse labels beyond 1: always on the CPU, else in the first batch, as looking waits for the device."""
        if masks.device.type != "cpu" and masks.device in self._looked_at:
            return
        self._looked_at.add(masks.device)
        least, most = map(float, torch.aminmax(torch.where(counted, masks, 0)))
        if not 0 <= least <= most <= 1:
            raise ValueError(
                f"the model gives one channel, which tells label 1 from label 0, and the masks hold labels {least:g} "
                f"to {most:g}: map them to 0 and 1 (and {self.ignore_index} for pixels that do not count), or give "
                "the model one channel for each class"
            )


def checked_loss(loss: Any) -> Any:
    """A loss, or a list of them, one for each output, as it is, if it can be called.

    Raises:
        TypeError: it cannot, or it is a class.
    """
    if isinstance(loss, nn.ModuleList | Sequence) and not isinstance(loss, str):
        if not len(loss):
            raise TypeError("loss is an empty list: give one loss, or one for each output of the model")
        listed = [checked_loss(one) for one in loss]
        return nn.ModuleList(listed) if all(isinstance(one, nn.Module) for one in listed) else listed
    if isinstance(loss, type):
        raise TypeError(f"loss is the class {loss.__name__}, and a loss is an object: write {loss.__name__}(...)")
    if not callable(loss):
        raise TypeError(f"loss must be a function loss(logits, labels), not {loss!r}")
    return loss


def loss_of(criterion: Any, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor | Mapping[str, torch.Tensor]:
    """What a loss gives: a number, or several by name; where it fails, the exception says what it was given.

    Torch's cross-entropy is NaN where no pixel counts, and one such batch spoils every weight: it is 0 here.

    Raises:
        TypeError: the loss returns something else.
        ValueError: softmax cross-entropy of one channel, which is always 0.

    Example:
        >>> nothing = torch.full((1, 2, 2), 255)
        >>> loss_of(nn.CrossEntropyLoss(ignore_index=255), torch.zeros(1, 3, 2, 2), nothing)
        tensor(0.)
    """
    try:
        value = _value(criterion, logits, masks)
    except (IndexError, RuntimeError) as error:
        add_note(error, _about_labels(criterion, logits, masks))
        raise
    if isinstance(value, torch.Tensor):
        return value.mean() if value.dim() else value
    if isinstance(value, Mapping) and all(isinstance(part, torch.Tensor) for part in value.values()):
        return value
    kinds = ", ".join(sorted({type(part).__name__ for part in value.values()})) if isinstance(value, Mapping) else ""
    held = f"a dict of {kinds}" if kinds else type(value).__name__
    raise TypeError(f"the loss returned {held}: a tensor, or a dict of tensors, is expected")


def _value(criterion: Any, logits: torch.Tensor, masks: torch.Tensor) -> Any:
    if not isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss):
        return criterion(logits, masks)
    if logits.shape[1] == 1 and isinstance(criterion, nn.CrossEntropyLoss):
        raise ValueError(
            "torch.nn.CrossEntropyLoss needs one channel for each class, and the model gives one: softmax over one "
            "channel is always 1. Give the model two channels, or leave loss out for binary cross-entropy"
        )
    if criterion.reduction != "mean" or masks.is_floating_point():
        return criterion(logits, masks)
    counted = counted_pixels(criterion, masks)
    assert counted is not None
    nothing = counted == 0
    if criterion.weight is not None:  # pixels that count with weight 0 alone: torch's gradients are NaN, too
        masks = torch.where(nothing, criterion.ignore_index, masks)
    return criterion(logits, masks).masked_fill(nothing, 0.0)


def _about_labels(criterion: Any, logits: torch.Tensor, masks: torch.Tensor) -> str:
    """What a loss that fails was given."""
    if masks.is_floating_point() and logits.shape[1] > 1:
        return f"the masks are {masks.dtype}; class indices are whole numbers: masks.long()"
    counted = masks[masks != getattr(criterion, "ignore_index", None)]
    found = f"{counted.min()} to {counted.max()}" if counted.numel() else "none"
    return f"labels that count: {found}; the model gives {logits.shape[1]} classes, from 0 on"
