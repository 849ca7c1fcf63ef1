"""Losses of the overlap of regions, by MMSegmentation's names: DiceLoss, TverskyLoss, LovaszLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from seg_runner.checks import label, number, one_of, whole
from torch import Tensor

from seg_engine.data.checks import switch
from seg_engine.models.loss_base import NamedLoss, as_floats, check_labels, class_maps, reduce

__all__ = ["DiceLoss", "LovaszLoss", "TverskyLoss"]


class DiceLoss(NamedLoss):
    """One minus the Dice overlap of each image, over all classes together (Milletari et al., 2016).

    2 |p t| / (|p|^2 + |t|^2), or with `naive_dice` 2 |p t| / (|p| + |t|), over the pixels that count.

    Args:
        use_sigmoid: Probabilities by sigmoid for each channel; otherwise by softmax over the channels.
        activate: False where the head gives probabilities already.
        reduction: 'mean', 'sum' or 'none' over the images.
        naive_dice: Without squares.
        loss_weight: Factor on the loss; 0 switches it off.
        ignore_index: Label of pixels that do not count, beside the head's; a class with this label is left out.
        eps: Keeps the fraction defined where nothing is there.
        loss_name: Name in the log.

    Example:
        >>> logits, labels = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]]), torch.tensor([[[0, 1]]])
        >>> round(float(DiceLoss()(logits, labels)), 2)
        0.0
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        activate: bool = True,
        reduction: str = "mean",
        naive_dice: bool = False,
        loss_weight: float = 1.0,
        ignore_index: int | None = 255,
        eps: float = 1e-3,
        loss_name: str = "loss_dice",
    ) -> None:
        super().__init__(loss_weight, loss_name, reduction)
        self.use_sigmoid = switch(use_sigmoid, "DiceLoss: use_sigmoid")
        self.activate = switch(activate, "DiceLoss: activate")
        self.naive_dice = switch(naive_dice, "DiceLoss: naive_dice")
        self.ignore_index = label(ignore_index, "DiceLoss: ignore_index")
        self.eps = number(eps, "DiceLoss: eps", above=0, most=1e6)
        self.softmax_of_channels = self.activate and not self.use_sigmoid

    def for_one_channel(self) -> str:
        """Say what to set for a head of one channel."""
        return "loss_decode=dict(type='DiceLoss', use_sigmoid=True)"

    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight."""
        x = as_floats(logits)
        if self.activate:
            x = x.sigmoid() if self.use_sigmoid else x.softmax(1)
        counted = _counted(labels, ignore_index, self.ignore_index)
        check_labels(labels, counted, x.shape[1])
        target = class_maps(labels, x.shape[1], counted, x)
        kept = _kept_classes(x.shape[1], self.ignore_index)
        x, target = x.masked_fill(~counted[:, None], 0.0)[:, kept].flatten(1), target[:, kept].flatten(1)
        both = (x * target).sum(1)
        if self.naive_dice:
            dice = (2 * both + self.eps) / (x.sum(1) + target.sum(1) + self.eps)
        else:
            dice = 2 * both / (x.square().sum(1) + self.eps + target.square().sum(1) + self.eps)
        each = (1 - dice) * counted.flatten(1).any(1)
        return reduce(each, len(each), self.reduction)


class TverskyLoss(NamedLoss):
    """One minus the Tversky index of each class and image (Salehi et al., 2017), by softmax over the channels.

    hit / (hit + alpha * too much + beta * missed), over the pixels that count; the mean of all classes and images.

    Args:
        smooth: Added above and below the fraction.
        class_weight: One factor per class, or the path of a `.json` or `.npy` file that holds them.
        loss_weight: Factor on the loss; 0 switches it off.
        ignore_index: Label of pixels that do not count, beside the head's; a class with this label counts as 0.
        alpha: Weight of what is predicted and not there.
        beta: Weight of what is there and not predicted; both add up to 1.
        loss_name: Name in the log.

    Example:
        >>> logits, labels = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]]), torch.tensor([[[0, 1]]])
        >>> round(float(TverskyLoss()(logits, labels)), 2)
        0.0
    """

    softmax_of_channels = True

    def __init__(
        self,
        smooth: float = 1,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        ignore_index: int | None = 255,
        alpha: float = 0.3,
        beta: float = 0.7,
        loss_name: str = "loss_tversky",
    ) -> None:
        super().__init__(loss_weight, loss_name, class_weight=class_weight)
        self.smooth = number(smooth, "TverskyLoss: smooth", above=0, most=1e6)
        self.alpha, self.beta = number(alpha, "TverskyLoss: alpha", least=0), number(beta, "TverskyLoss: beta", least=0)
        self.ignore_index = label(ignore_index, "TverskyLoss: ignore_index")
        if not math.isclose(self.alpha + self.beta, 1, abs_tol=1e-6):
            raise ValueError(f"TverskyLoss: alpha and beta must add up to 1, not {self.alpha} + {self.beta}")

    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight."""
        x, counted = as_floats(logits).softmax(1), _counted(labels, ignore_index, self.ignore_index)
        check_labels(labels, counted, x.shape[1])
        target = class_maps(labels, x.shape[1], counted, x).flatten(2)
        x = x.masked_fill(~counted[:, None], 0.0).flatten(2)
        hit = (x * target).sum(2)
        wrong = self.alpha * (x * (1 - target)).sum(2) + self.beta * ((1 - x) * target).sum(2)
        each = 1 - (hit + self.smooth) / (hit + wrong + self.smooth)
        if self.class_weight is not None:
            each = each * self.class_weight
        kept = _kept_classes(x.shape[1], self.ignore_index)
        return each[:, kept].sum() / each.numel()


class LovaszLoss(NamedLoss):
    """The Lovász extension of the Jaccard loss (Berman et al., 2018): softmax over the channels, or hinge for one.

    Args:
        loss_type: 'multi_class', or 'binary' for a head of one channel.
        classes: 'present' for the mean over the classes that are there, 'all', or a list of classes.
        per_image: The mean of the images' losses; otherwise the batch is taken as one image.
        reduction: 'mean', 'sum' or 'none' over the images; without `per_image` there is one number in any case.
        class_weight: One factor per class.
        loss_weight: Factor on the loss; 0 switches it off.
        loss_name: Name in the log.

    Example:
        >>> logits, labels = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]]), torch.tensor([[[0, 1]]])
        >>> round(float(LovaszLoss()(logits, labels)), 2)
        0.0
    """

    def __init__(
        self,
        loss_type: str = "multi_class",
        classes: str | Sequence[int] = "present",
        per_image: bool = False,
        reduction: str = "mean",
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_lovasz",
    ) -> None:
        super().__init__(loss_weight, loss_name, reduction, class_weight)
        self.loss_type = one_of(loss_type, "LovaszLoss: loss_type", ("multi_class", "binary"))
        self.per_image = switch(per_image, "LovaszLoss: per_image")
        self.classes = classes if classes in ("present", "all") else _listed_classes(classes)
        self.softmax_of_channels = self.loss_type == "multi_class"
        if class_weight is not None and self.loss_type == "binary":
            raise ValueError("LovaszLoss: class_weight has no use with loss_type='binary': leave it out")

    def check_channels(self, channels: int) -> None:
        """Refuse a number of channels that fits neither the type nor the classes."""
        super().check_channels(channels)
        if self.loss_type == "binary" and channels != 1:
            raise ValueError(f"LovaszLoss: loss_type='binary' is for one channel; the head gives {channels}")
        if not isinstance(self.classes, str) and max(self.classes) >= channels:
            raise ValueError(f"LovaszLoss: classes holds {max(self.classes)}; the head gives {channels} channels")

    def for_one_channel(self) -> str:
        """Say what to set for a head of one channel."""
        return "loss_decode=dict(type='LovaszLoss', loss_type='binary')"

    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight."""
        x, counted = as_floats(logits), labels != ignore_index
        check_labels(labels, counted, x.shape[1])
        if self.loss_type == "multi_class":
            x = x.softmax(1)
        if not self.per_image:
            return self._of_pixels(x.transpose(0, 1).flatten(1), labels.flatten(), counted.flatten())
        images = zip(x.flatten(2), labels.flatten(1), counted.flatten(1), strict=True)
        each = [self._of_pixels(*image) for image in images]
        return reduce(torch.stack(each), len(each), self.reduction)

    def _of_pixels(self, x: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
        """Return the loss of C x P scores or probabilities and P labels."""
        if self.loss_type == "binary":
            there = ((labels == 1) & counted).to(x.dtype)
            return _extension(1 - x[0] * (2 * there - 1), there, counted)
        listed = range(len(x)) if isinstance(self.classes, str) else self.classes
        total, share = x.new_zeros(()), x.new_zeros(())
        for index in listed:
            there = ((labels == index) & counted).to(x.dtype)
            each = _extension((there - x[index]).abs(), there, counted)
            taken = there.any() if self.classes == "present" else counted.any()
            total = total + taken * (each if self.class_weight is None else each * self.class_weight[index])
            share = share + taken
        return total / share.clamp_min(1)


def _extension(errors: Tensor, there: Tensor, counted: Tensor) -> Tensor:
    """Return errors, largest first, times the growth of the Jaccard loss that each brings; no wait for the device."""
    errors, order = errors.masked_fill(~counted, -1.0).sort(descending=True)
    there = there[order]
    union = there.sum() + (1 - there).cumsum(0)
    jaccard = 1 - (there.sum() - there.cumsum(0)) / union
    growth = torch.cat([jaccard[:1], jaccard.diff()])
    return torch.dot(errors.clamp_min(0), growth)


def _listed_classes(classes: object) -> list[int]:
    if not isinstance(classes, list | tuple) or not classes:
        raise ValueError(f"LovaszLoss: classes must be 'present', 'all' or a list of classes, not {classes!r}")
    return [whole(one, "LovaszLoss: each of classes") for one in classes]


def _counted(labels: Tensor, *ignored: int | None) -> Tensor:
    counted = torch.ones_like(labels, dtype=torch.bool)
    for one in ignored:
        if one is not None:
            counted &= labels != one
    return counted


def _kept_classes(channels: int, ignored: int | None) -> list[int]:
    return [index for index in range(channels) if channels == 1 or index != ignored]
