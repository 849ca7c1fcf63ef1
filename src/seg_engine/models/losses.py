"""Losses that are sums over pixels, by MMSegmentation's names: CrossEntropyLoss, FocalLoss, OhemCrossEntropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from seg_runner.checks import flag, label, number, whole
from torch import Tensor

from seg_engine.data.checks import switch
from seg_engine.models.loss_base import NamedLoss, as_floats, check_labels, class_maps, reduce

__all__ = ["CrossEntropyLoss", "FocalLoss", "OhemCrossEntropy", "SiLogLoss"]


class CrossEntropyLoss(NamedLoss):
    """Cross-entropy: of softmax over the channels, or with `use_sigmoid` of each channel for itself.

    The mean divides by all pixels, as MMSegmentation does; with `avg_non_ignore` by those that count. With
    `class_weight` softmax divides by the sum of the pixels' weights, as MMSegmentation and torch do; with
    `use_sigmoid` a class weight multiplies the pixels of that class only (torch's `pos_weight`).

    Args:
        use_sigmoid: For one channel (label 1 against 0), or classes that do not exclude each other.
        use_mask: Of MMDetection; only False is possible.
        reduction: 'mean', 'sum' or 'none'.
        class_weight: One factor per class, or the path of a `.json` or `.npy` file that holds them.
        loss_weight: Factor on the loss; 0 switches it off.
        loss_name: Name in the log.
        avg_non_ignore: Divide by the pixels that count.

    Example:
        >>> loss = CrossEntropyLoss(class_weight=[1.0, 3.0])
        >>> round(float(loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))), 4)
        0.6931
    """

    takes_pixel_weights = True

    def __init__(
        self,
        use_sigmoid: bool = False,
        use_mask: bool = False,
        reduction: str = "mean",
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_ce",
        avg_non_ignore: bool = False,
    ) -> None:
        super().__init__(loss_weight, loss_name, reduction, class_weight)
        self.use_sigmoid = switch(use_sigmoid, "CrossEntropyLoss: use_sigmoid")
        self.avg_non_ignore = switch(avg_non_ignore, "CrossEntropyLoss: avg_non_ignore")
        self.softmax_of_channels = not self.use_sigmoid
        if switch(use_mask, "CrossEntropyLoss: use_mask"):
            raise ValueError(
                "CrossEntropyLoss: use_mask=True is for masks of instances, not for label maps: leave it out, or set "
                "use_sigmoid=True for one decision per class"
            )

    @property
    def divides_by(self) -> Any:
        """Equal for losses that divide alike; None where the mean is over all pixels."""
        if self.reduction != "mean":
            return None
        if self.class_weight is not None and not self.use_sigmoid:
            return "weights", self.class_weights, self.avg_non_ignore
        return "pixels" if self.avg_non_ignore else None

    def counted(self, labels: Tensor, ignore_index: int) -> Tensor:
        """Return what a mean divides by, if that depends on the labels: the pixels that count, or their weights."""
        if self.class_weight is None or self.use_sigmoid:
            return (labels != ignore_index).sum()
        known = (labels >= 0) & (labels < len(self.class_weight))
        if self.avg_non_ignore:
            known &= labels != ignore_index
        return torch.where(known, self.class_weight[torch.where(known, labels, 0)], 0.0).sum()

    def pixels(self, logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        """Return the loss of each pixel: N x H x W, with `use_sigmoid` N x C x H x W; 0 where it does not count."""
        if not self.use_sigmoid:
            return by_softmax(logits, labels, self.class_weight, ignore_index)
        counted = labels != ignore_index
        check_labels(labels, counted, logits.shape[1])
        weight = None if self.class_weight is None else self.class_weight.view(-1, 1, 1)
        target = class_maps(labels, logits.shape[1], counted, as_floats(logits))
        each = F.binary_cross_entropy_with_logits(as_floats(logits), target, reduction="none", pos_weight=weight)
        return each.masked_fill(~counted[:, None], 0.0)

    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight."""
        each = self.pixels(logits, labels, ignore_index)
        if weight is not None:
            each = each * (weight if each.dim() == weight.dim() else weight[:, None])
        if self.divides_by is None:
            return reduce(each, each.numel(), self.reduction)
        total = self.counted(labels, ignore_index)
        if self.use_sigmoid:
            total = total * logits.shape[1]
        return reduce(each, torch.where(total > 0, total, 1), self.reduction)


class FocalLoss(NamedLoss):
    """Sigmoid focal loss: pixels that are right already weigh little (Lin et al., 2017).

    With p the probability of what is there: - a (1 - p) ^ gamma log p, a being `alpha` where the class is there and
    1 - alpha where it is not; the mean is over all pixels and channels.

    Args:
        use_sigmoid: Only True is possible, as in MMSegmentation.
        gamma: How much less pixels weigh that are right.
        alpha: Weight of what is there against what is not; one number, or one per class.
        reduction: 'mean', 'sum' or 'none'.
        class_weight: One factor per channel.
        loss_weight: Factor on the loss; 0 switches it off.
        loss_name: Name in the log.

    Example:
        >>> round(float(FocalLoss()(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))), 4)
        0.0866
    """

    takes_pixel_weights = True
    alpha: Tensor

    def __init__(
        self,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float | Sequence[float] = 0.5,
        reduction: str = "mean",
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_focal",
    ) -> None:
        super().__init__(loss_weight, loss_name, reduction, class_weight)
        if not flag(use_sigmoid, "FocalLoss: use_sigmoid"):
            raise ValueError("FocalLoss: use_sigmoid=False is not supported, as in MMSegmentation: set it to True")
        self.gamma = number(gamma, "FocalLoss: gamma", least=0, most=1000)
        listed = list(alpha) if isinstance(alpha, list | tuple) else [alpha]
        if not listed:
            raise ValueError("FocalLoss: alpha is an empty list: give one number, or one per class")
        shares = [number(one, "FocalLoss: alpha", least=0, most=1) for one in listed]
        self.register_buffer("alpha", torch.tensor(shares, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def check_channels(self, channels: int) -> None:
        """Refuse a number of channels that fits neither `alpha` nor `class_weight`."""
        super().check_channels(channels)
        if len(self.alpha) not in (1, channels):
            raise ValueError(f"FocalLoss: alpha has {len(self.alpha)} numbers, and the head gives {channels} channels")

    def pixels(self, logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        """Return the loss of each pixel and channel."""
        x, counted = as_floats(logits), labels != ignore_index
        check_labels(labels, counted, x.shape[1])
        target = class_maps(labels, x.shape[1], counted, x)
        chance = x.sigmoid()
        missed = (1 - chance) * target + chance * (1 - target)
        if self.gamma < 1:  # the root of 0 has no gradient
            missed = missed.clamp_min(torch.finfo(x.dtype).tiny)
        share = self.alpha * target + (1 - self.alpha) * (1 - target)
        each = F.binary_cross_entropy_with_logits(x, target, reduction="none") * share * missed.pow(self.gamma)
        if self.class_weight is not None:
            each = each * self.class_weight.view(-1, 1, 1)
        return each.masked_fill(~counted[:, None], 0.0)

    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight."""
        each = self.pixels(logits, labels, ignore_index)
        if weight is not None:
            each = each * weight[:, None]
        return reduce(each, each.numel(), self.reduction)


class OhemCrossEntropy(NamedLoss):
    """Cross-entropy of the hard pixels only: those whose class has a probability below `thres`, or the hardest.

    Args:
        ignore_label: Label of pixels that do not count, beside the head's `ignore_index`.
        thres: Pixels whose class is less probable than this are hard.
        min_kept: So many pixels of a batch are taken at least.
        loss_weight: Factor on the loss; 0 switches it off.
        class_weight: One factor per class.
        loss_name: Name in the log.

    Example:
        >>> logits, labels = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]]), torch.tensor([[[0, 0]]])
        >>> round(float(OhemCrossEntropy(min_kept=1)(logits, labels)), 3)
        4.018
    """

    softmax_of_channels = True

    def __init__(
        self,
        ignore_label: int = 255,
        thres: float = 0.7,
        min_kept: int = 100000,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        loss_name: str = "loss_ohem",
    ) -> None:
        super().__init__(loss_weight, loss_name, class_weight=class_weight)
        self.ignore_label = label(ignore_label, "OhemCrossEntropy: ignore_label")
        self.thres = number(thres, "OhemCrossEntropy: thres", least=0, most=1)
        self.min_kept = whole(min_kept, "OhemCrossEntropy: min_kept", 1)

    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight: the mean over the hard pixels."""
        if self.ignore_label is not None:
            labels = torch.where(labels == self.ignore_label, ignore_index, labels)
        each = by_softmax(logits, labels, self.class_weight, ignore_index)
        hard = hard_pixels(logits, labels, ignore_index, self.thres, self.min_kept)
        return (each * hard).sum() / hard.sum().clamp_min(1)


def by_softmax(logits: Tensor, labels: Tensor, class_weight: Tensor | None, ignore_index: int) -> Tensor:
    """Return the cross-entropy of each pixel in any type of logits: torch wants class weights of the same type."""
    x = as_floats(logits)
    weight = None if class_weight is None else class_weight.to(x.dtype)
    return F.cross_entropy(x, labels, weight, ignore_index=ignore_index, reduction="none")


@torch.no_grad()
def hard_pixels(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float, min_kept: int) -> Tensor:
    """True where the probability of the pixel's class is below `thresh`, or below that of the `min_kept`-th hardest.

    One channel is the probability of label 1 by sigmoid. Nothing waits for the device.
    """
    counted, x = labels != ignore_index, as_floats(logits)
    if x.shape[1] == 1:
        chance = torch.where(labels == 1, x[:, 0], -x[:, 0]).sigmoid()
    else:
        chance = x.softmax(1).gather(1, torch.where(counted, labels, 0)[:, None])[:, 0]
    ordered = chance.masked_fill(~counted, torch.inf).flatten().sort().values
    last = (counted.sum() - 1).clamp(0, min_kept)
    found: Tensor = (chance < ordered[last].clamp_min(thresh)) & counted
    return found


class SiLogLoss(NamedLoss):
    """Scale-invariant log loss of depths: sqrt(mean(d ^ 2) - mean(d) ^ 2 / 2), d being the difference of logarithms.

    Of each image. For models that give depths, N x 1 x H x W, and maps of depths; not for label maps. Depths up to
    `eps` do not count.

    Args:
        reduction: 'mean', 'sum' or 'none' over the images.
        loss_weight: Factor on the loss; 0 switches it off.
        eps: Depths above this count.
        loss_name: Name in the log.

    Example:
        >>> round(float(SiLogLoss()(torch.ones(1, 1, 1, 2), torch.tensor([[[2.0, 0.0]]]))), 4)
        0.4901
    """

    def __init__(
        self, reduction: str = "mean", loss_weight: float = 1.0, eps: float = 1e-6, loss_name: str = "loss_silog"
    ) -> None:
        super().__init__(loss_weight, loss_name, reduction)
        self.eps = number(eps, "SiLogLoss: eps", above=0, most=1e6)

    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight."""
        if not labels.is_floating_point():
            raise TypeError(f"SiLogLoss compares depths, which are floats; the maps are {labels.dtype}: class labels?")
        depths = labels if labels.dim() == logits.dim() else labels[:, None]
        counted = (depths > self.eps).flatten(1)
        total = counted.sum(1).clamp_min(1)
        off = [torch.where(counted, one.flatten(1), 1).log() for one in (depths, logits)]
        difference = off[0] - off[1]
        inside = difference.square().sum(1) / total - 0.5 * (difference.sum(1) / total).square()
        each = torch.where(inside > 0, inside, 1).sqrt() * (inside > 0)  # the root of 0 has no gradient
        return reduce(each, len(each), self.reduction)
