"""Losses of a model that returns logits: the default one, and any other called so that a batch never gives NaN."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from seg_runner.checks import number, whole
from seg_runner.errors import add_note
from seg_runner.model.accumulation import counted_pixels

__all__ = [
    "DefaultLoss",
    "add_up",
    "auxiliary_weights",
    "checked_loss",
    "checked_weights",
    "is_of_torch",
    "loss_of",
]

Values = torch.Tensor | Mapping[str, torch.Tensor]
"""What a loss gives: a number, or several by name."""

SOFTMAX = (nn.CrossEntropyLoss, nn.NLLLoss)
"""What torch divides by the pixels that count, so that it gives NaN where there are none."""


OF_TWO = (nn.BCEWithLogitsLoss, nn.BCELoss, F.binary_cross_entropy_with_logits, F.binary_cross_entropy)
"""Losses for two classes: of masks of floats, too, a pixel that holds `ignore_index` does not count."""
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
        """Return how many pixels the mean is taken over."""
        return (masks != self.ignore_index).sum()

    def __call__(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the mean over the pixels that count; 0 where there is none."""
        counted = masks != self.ignore_index
        if logits.shape[1] > 1:
            # A mean over no pixel is NaN; its gradients are zeros already.
            return F.cross_entropy(logits, masks, ignore_index=self.ignore_index).masked_fill(~counted.any(), 0.0)
        self._check_binary(masks, counted)
        each = F.binary_cross_entropy_with_logits(logits[:, 0], masks.to(logits.dtype), reduction="none")
        return (each * counted).sum() / counted.sum().clamp_min(1)

    def _check_binary(self, masks: torch.Tensor, counted: torch.Tensor) -> None:
        """Refuse labels beyond 1: always on the CPU, else in the first batch only, as a look waits for the device."""
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


def checked_loss(loss: object) -> Any:
    """Return a loss, or a list of them, one for each output, as it is, if it can be called.

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


def is_of_torch(criterion: object) -> bool:
    """Tell whether a loss is one of torch's that `loss_of` knows."""
    return isinstance(criterion, SOFTMAX) or _kind(criterion) in BY_NUMBER


def loss_of(
    criterion: Callable[..., Any], logits: torch.Tensor, masks: torch.Tensor, ignore_index: int | None = None
) -> Values:
    """Return what a loss gives: a number, or several by name; where it fails, the error says what it was given.

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
        if not isinstance(criterion, SOFTMAX):
            by_number = _kind(criterion) in BY_NUMBER
            value = _by_number(criterion, logits, masks, ignore_index) if by_number else criterion(logits, masks)
        elif logits.shape[1] == 1 and isinstance(criterion, nn.CrossEntropyLoss):
            raise ValueError(
                "torch.nn.CrossEntropyLoss needs one channel for each class, and the model gives one: softmax over one "
                "channel is always 1. Give the model two channels, or leave loss out for binary cross-entropy"
            )
        elif criterion.reduction != "mean" or masks.is_floating_point():
            value = criterion(logits, masks)
        elif criterion.weight is not None:
            value = _weighted(criterion, logits, masks)
        else:
            value = criterion(logits, masks).masked_fill((masks == criterion.ignore_index).all(), 0.0)
    except (IndexError, RuntimeError) as error:
        add_note(error, _about_labels(criterion, logits, masks))
        raise
    if isinstance(value, torch.Tensor):
        return value.mean() if value.dim() else value
    return _checked_parts(value)


def _checked_parts(value: object) -> Mapping[str, torch.Tensor]:
    """Return the parts of a loss by name, if they are tensors."""
    if isinstance(value, Mapping) and all(isinstance(part, torch.Tensor) for part in value.values()):
        return value
    kinds = ", ".join(sorted({type(part).__name__ for part in value.values()})) if isinstance(value, Mapping) else ""
    found = f"a dict of {kinds}" if kinds else type(value).__name__
    raise TypeError(f"the loss returned {found}: a tensor, or a dict of tensors, is expected")


def add_up(values: Sequence[Values], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """Name the losses of several outputs, and put their sum first, as `loss`; what is no loss by its name is not added.

    Args:
        values: What the loss of each output gives, the main one's first.
        weights: One for each auxiliary output.

    Raises:
        ValueError: no name contains 'loss'.

    Example:
        >>> add_up([torch.tensor(3.0), {"loss_ce": torch.tensor(2.0), "acc": torch.tensor(90.0)}], [0.5])
        {'loss': tensor(4.), 'decode.loss': tensor(3.), 'aux.loss_ce': tensor(1.), 'aux.acc': tensor(90.)}
    """
    losses = _named("decode.", values[0])
    for index, (value, weight) in enumerate(zip(values[1:], weights, strict=True)):
        named = _named("aux." if len(weights) == 1 else f"aux_{index}.", value)
        losses |= {name: part * weight if "loss" in name else part for name, part in named.items()}
    parts = [part for name, part in losses.items() if "loss" in name]
    if not parts:
        raise ValueError(f"no name of {list(losses)} contains 'loss': nothing can be minimised")
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return {"loss": total} | {name: part for name, part in losses.items() if name != "loss"}


def checked_weights(aux_weight: object) -> float | list[float]:
    """Return the weight of auxiliary losses, or one for each, if they are numbers."""
    if isinstance(aux_weight, Sequence) and not isinstance(aux_weight, str):
        return [number(weight, "each of aux_weight", least=0) for weight in aux_weight]
    return number(aux_weight, "aux_weight", least=0)


def auxiliary_weights(aux_weight: float | list[float], count: int, training: bool) -> list[float]:
    """Return the weights of so many auxiliary losses.

    Raises:
        ValueError: there are not as many.
    """
    if isinstance(aux_weight, int | float):
        return [float(aux_weight)] * count
    if not count and not training:
        return []  # auxiliary heads are there for training: many models leave them out otherwise
    if len(aux_weight) != count:
        raise ValueError(f"aux_weight has {len(aux_weight)} numbers, but the model returns {count} auxiliary outputs")
    return list(aux_weight)


def _named(prefix: str, value: Values) -> dict[str, torch.Tensor]:
    """Return the parts of a loss, each one number, by their names in the log."""
    if isinstance(value, torch.Tensor):
        return {f"{prefix}loss": value}
    return {f"{prefix}{name}": part.mean() for name, part in value.items()}


def _kind(criterion: object) -> object:
    """Return the class of a loss, or the function itself; a subclass is another one than torch's."""
    return type(criterion) if isinstance(criterion, nn.Module) else criterion


def _weighted(criterion: nn.CrossEntropyLoss | nn.NLLLoss, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the loss with weights of classes; 0 where all pixels are ignored, or of classes with weight 0."""
    counted = counted_pixels(criterion, masks)
    assert counted is not None
    nothing = counted == 0
    masks = torch.where(nothing, criterion.ignore_index, masks)  # of pixels with weight 0, torch's gradients are NaN
    value: torch.Tensor = criterion(logits, masks)
    return value.masked_fill(nothing, 0.0)


def _by_number(
    criterion: Callable[..., torch.Tensor], logits: torch.Tensor, masks: torch.Tensor, ignore_index: int | None
) -> torch.Tensor:
    """Return a loss of equal shapes; labels of one channel become numbers, and those that do not count give 0."""
    shape, kind = tuple(logits.shape), _kind(criterion)
    if kind in BY_PIXEL and logits.shape[1] == 1 and masks.dim() == logits.dim() - 1:
        logits = logits[:, 0]
    if logits.shape != masks.shape:
        raise ValueError(
            f"torch's {getattr(kind, '__name__', kind)} compares numbers one by one, and was given logits of shape "
            f"{shape} and maps of shape {tuple(masks.shape)}. For class numbers take torch.nn.CrossEntropyLoss (in a "
            "config dict(type='CrossEntropyLoss'), with use_sigmoid=True for one decision per channel); for depths, or "
            "foreground against background, let the model give one channel"
        )
    if ignore_index is None or kind not in BY_PIXEL or (masks.is_floating_point() and kind not in OF_TWO):
        return criterion(logits, masks.to(logits.dtype))
    ignored = masks == ignore_index
    each = _without_reduction(criterion)(logits, masks.masked_fill(ignored, 0).to(logits.dtype))
    each = each.masked_fill(ignored, 0.0)
    return each.sum() if getattr(criterion, "reduction", "mean") == "sum" else each.mean()


def _without_reduction(criterion: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return the same loss without a sum over pixels."""
    if not isinstance(criterion, nn.Module):
        return partial(criterion, reduction="none")
    twin: Any = copy.copy(criterion)
    twin.reduction = "none"
    return twin  # type: ignore[no-any-return]


def _about_labels(criterion: object, logits: torch.Tensor, masks: torch.Tensor) -> str:
    """Say what a loss that fails was given."""
    if masks.is_floating_point() and logits.shape[1] > 1:
        return f"the masks are {masks.dtype}; class indices are whole numbers: masks.long()"
    counted = masks[masks != getattr(criterion, "ignore_index", None)]
    found = f"{counted.min()} to {counted.max()}" if counted.numel() else "none"
    return f"labels that count: {found}; the model gives {logits.shape[1]} classes, from 0 on"
