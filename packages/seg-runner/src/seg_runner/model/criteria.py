"""Losses of a model that returns logits: the default one, and any other called so that a batch never gives NaN."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from seg_runner.checks import whole
from seg_runner.errors import add_note
from seg_runner.model.accumulation import counted_pixels

__all__ = ["DefaultLoss", "checked_loss", "is_of_torch", "loss_of"]

OF_TWO = (nn.BCEWithLogitsLoss, nn.BCELoss, F.binary_cross_entropy_with_logits, F.binary_cross_entropy)
"""What is about two classes, so that other numbers are labels that do not count, floats too."""
BY_PIXEL = (
    *OF_TWO, nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss,
    F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.poisson_nll_loss,
)  # fmt: skip
"""What torch compares number by number, and one channel with a map of labels or depths."""
BY_NUMBER = (
    *BY_PIXEL, nn.KLDivLoss, nn.SoftMarginLoss, nn.HingeEmbeddingLoss, nn.MultiLabelSoftMarginLoss,
    F.kl_div, F.soft_margin_loss, F.hinge_embedding_loss, F.multilabel_soft_margin_loss,
)  # fmt: skip
"""What torch compares number by number, and spreads one side over the other where the shapes differ."""


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


def is_of_torch(criterion: Any) -> bool:
    """Whether a loss is one of torch's that `loss_of` knows."""
    return isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss) or _kind(criterion) in BY_NUMBER


def loss_of(
    criterion: Any, logits: torch.Tensor, masks: torch.Tensor, ignore_index: int | None = None
) -> torch.Tensor | Mapping[str, torch.Tensor]:
    """What a loss gives: a number, or several by name; where it fails, the exception says what it was given.

    Torch's cross-entropy is NaN where no pixel counts, and one such batch spoils every weight: it is 0 here. Torch's
    losses that compare number by number (MSELoss, BCEWithLogitsLoss, ...) take one channel with a map of labels, of
    which pixels of `ignore_index` give 0; their mean is over all pixels.

    Raises:
        TypeError: the loss returns something else.
        ValueError: softmax cross-entropy of one channel, which is always 0; shapes that torch would spread over one
            another.

    Example:
        >>> nothing = torch.full((1, 2, 2), 255)
        >>> loss_of(nn.CrossEntropyLoss(ignore_index=255), torch.zeros(1, 3, 2, 2), nothing)
        tensor(0.)
    """
    try:
        value = _value(criterion, logits, masks, ignore_index)
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


def _kind(criterion: Any) -> Any:
    """The class of a loss, or the function itself; a class of somebody's own is another one than torch's."""
    return type(criterion) if isinstance(criterion, nn.Module) else criterion


def _value(criterion: Any, logits: torch.Tensor, masks: torch.Tensor, ignore_index: int | None) -> Any:
    if _kind(criterion) in BY_NUMBER:
        return _by_number(criterion, logits, masks, ignore_index)
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


def _by_number(criterion: Any, logits: torch.Tensor, masks: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    """A loss of equal shapes; labels of one channel become numbers, and those that do not count give 0."""
    given = tuple(logits.shape)
    if _kind(criterion) in BY_PIXEL and logits.shape[1] == 1 and masks.dim() == logits.dim() - 1:
        logits = logits[:, 0]
    if logits.shape != masks.shape:
        raise ValueError(
            f"torch's {_kind(criterion).__name__} compares numbers one by one, and was given logits of shape {given} "
            f"and maps of shape {tuple(masks.shape)}. For class numbers take torch.nn.CrossEntropyLoss (in a config "
            "dict(type='CrossEntropyLoss'), with use_sigmoid=True for one decision per channel); for depths, or "
            "foreground against background, let the model give one channel"
        )
    kind = _kind(criterion)
    if ignore_index is None or kind not in BY_PIXEL or (masks.is_floating_point() and kind not in OF_TWO):
        value: torch.Tensor = criterion(logits, masks.to(logits.dtype))
        return value
    ignored = masks == ignore_index
    each: torch.Tensor = _by_itself(criterion)(logits, masks.masked_fill(ignored, 0).to(logits.dtype))
    each = each.masked_fill(ignored, 0.0)
    return each.sum() if getattr(criterion, "reduction", "mean") == "sum" else each.mean()


def _by_itself(criterion: Any) -> Any:
    """The same loss without a sum over pixels."""
    if not isinstance(criterion, nn.Module):
        return partial(criterion, reduction="none")
    twin: Any = copy.copy(criterion)
    twin.reduction = "none"
    return twin


def _about_labels(criterion: Any, logits: torch.Tensor, masks: torch.Tensor) -> str:
    """What a loss that fails was given."""
    if masks.is_floating_point() and logits.shape[1] > 1:
        return f"the masks are {masks.dtype}; class indices are whole numbers: masks.long()"
    counted = masks[masks != getattr(criterion, "ignore_index", None)]
    found = f"{counted.min()} to {counted.max()}" if counted.numel() else "none"
    return f"labels that count: {found}; the model gives {logits.shape[1]} classes, from 0 on"
