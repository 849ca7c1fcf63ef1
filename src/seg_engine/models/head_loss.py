"""The losses of one head by their names in the log, the share of right pixels, and the choice of hard ones."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from seg_runner.checks import number, whole
from seg_runner.errors import check_options
from seg_runner.model.criteria import is_of_torch, loss_of
from seg_runner.model.inference import best_class
from torch import Tensor, nn

from seg_engine.data.pipeline import build
from seg_engine.models.loss_base import NamedLoss
from seg_engine.models.losses import CrossEntropyLoss, hard_pixels

__all__ = ["OHEMPixelSampler", "SegmentationLoss"]

LOG = logging.getLogger("seg_engine.models.segmentor")


class PixelLoss(Protocol):
    """A loss that tells the loss of each pixel."""

    loss_weight: float

    def pixels(self, logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        """Return N x H x W losses, or N x C x H x W."""


class OHEMPixelSampler:
    """Chooses the pixels of a batch that a head is trained on: those that are hard.

    Args:
        thresh: Pixels whose class is less probable than this are hard; None: those with the largest loss.
        min_kept: So many pixels per image are taken; with `thresh` at least.

    Example:
        >>> logits, labels = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]]), torch.tensor([[[0, 0]]])
        >>> OHEMPixelSampler(thresh=0.7, min_kept=1).sample(logits, labels, 255)
        tensor([[[0., 1.]]])
    """

    def __init__(self, thresh: float | None = None, min_kept: int = 100000) -> None:
        self.thresh = None if thresh is None else number(thresh, "OHEMPixelSampler: thresh", least=0, most=1)
        self.min_kept = whole(min_kept, "OHEMPixelSampler: min_kept", 1)

    def sample(self, logits: Tensor, labels: Tensor, ignore_index: int, losses: Sequence[PixelLoss] = ()) -> Tensor:
        """Return 1 for each pixel that is chosen, 0 for the others: N x H x W."""
        kept = self.min_kept * len(labels)
        if self.thresh is not None:
            return hard_pixels(logits, labels, ignore_index, self.thresh, kept).float()
        with torch.no_grad():
            each = torch.stack([_by_pixel(loss, logits, labels, ignore_index) for loss in losses]).sum(0)
        each = each.masked_fill(labels == ignore_index, -1.0).flatten()
        chosen = torch.zeros_like(each)
        chosen[each.topk(min(kept, len(each))).indices] = 1.0
        return (chosen * (each >= 0)).view(labels.shape)


def _by_pixel(loss: PixelLoss, logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    each = loss.pixels(logits, labels, ignore_index)
    return loss.loss_weight * (each if each.dim() == labels.dim() else each.sum(1))


class SegmentationLoss(nn.Module):
    """All losses of one head, of logits N x C x H x W and labels N x H x W, and the share of pixels that are right.

    Args:
        losses: What `loss_decode` holds: a loss or its config, or a list of them. A loss is called as MMSegmentation's
            are: `loss(logits, labels, weight=None, ignore_index=255)`; one that takes no `weight` or `ignore_index` is
            called without. Default: cross-entropy with the `options`.
        ignore_index: Label of pixels that do not count.
        sampler: An `OHEMPixelSampler`, or its config.
        threshold: Above which probability a pixel of a head with one channel is foreground.
        align_corners: For resizing the head's logits to the labels.
        **options: Of `CrossEntropyLoss`, where `losses` is not given.

    Example:
        >>> losses = SegmentationLoss(avg_non_ignore=True)(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 255]]]))
        >>> {name: round(float(value), 3) for name, value in losses.items()}
        {'loss_ce': 0.693, 'acc_seg': 100.0}
    """

    def __init__(
        self,
        losses: object = None,
        *,
        ignore_index: int = 255,
        sampler: object = None,
        threshold: float = 0.3,
        align_corners: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.ignore_index, self.threshold, self.align_corners = ignore_index, threshold, align_corners
        listed = [CrossEntropyLoss(**options)] if losses is None else _built(losses, ignore_index)
        self.losses = nn.ModuleList(one for one in listed if isinstance(one, nn.Module))
        self._listed, self._takes = listed, [_arguments(one) for one in listed]
        self.names = [_name_of(one) for one in listed]
        self.sampler = _sampler(sampler, listed)

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return each loss by its name (those of one name are added up), and `acc_seg` (percent)."""
        weight = None
        if self.sampler is not None:
            weight = self.sampler.sample(logits, labels, self.ignore_index, self._listed)
        found: dict[str, Tensor] = {}
        given = {"weight": weight, "ignore_index": self.ignore_index}
        for name, loss, takes in zip(self.names, self._listed, self._takes, strict=True):
            if is_of_torch(loss):
                value: Any = loss_of(loss, logits, labels, self.ignore_index)
            else:
                value = _called(loss, name, logits, labels, {key: given[key] for key in takes})
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} is of type {type(value).__name__}: a loss of loss_decode gives one tensor")
            value = value.mean() if value.dim() else value
            found[name] = found[name] + value if name in found else value
        return {**found, "acc_seg": self._accuracy(logits.detach(), labels)}

    def _accuracy(self, logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != self.ignore_index
        if logits.shape[1] == 1:
            guess = (logits[:, 0].sigmoid() > self.threshold).to(labels.dtype)
        else:
            guess = best_class(logits, 1)
        right = (guess == labels) & counted
        return 100 * right.sum() / counted.sum().clamp_min(1)

    @property
    def divides_by(self) -> Any:
        """Return what the losses divide by, if that depends on the labels and is the same for all of them."""
        rules = [getattr(one, "divides_by", None) for one in self._listed]
        return None if rules.count(rules[0]) < len(rules) or rules[0] is None else (rules[0], self.ignore_index)

    def counted_pixels(self, labels: Tensor) -> Tensor | None:
        """Return what the losses divide by, for accumulation; None where that is all pixels, or not one number."""
        if self.divides_by is None:
            return None
        found: Tensor = self._listed[0].counted(labels, self.ignore_index)
        return found

    @property
    def off(self) -> bool:
        """Tell whether every loss has the weight 0."""
        return all(getattr(one, "loss_weight", 1) == 0 for one in self._listed)

    def check_channels(self, channels: int) -> None:
        """Refuse a number of channels that a loss cannot be meant for.

        Raises:
            ValueError: Says what to set.
        """
        for one in self._listed:
            if isinstance(one, NamedLoss):
                one.check_channels(channels)


def _built(losses: object, ignore_index: int) -> list[Any]:
    """Return losses from the value of `loss_decode`."""
    listed = list(losses) if isinstance(losses, list | tuple | nn.ModuleList) else [losses]
    if not listed:
        raise ValueError("loss_decode is an empty list: nothing would be trained")
    built = []
    for one in listed:
        if isinstance(one, Mapping):
            loss = build("model", one if "type" in one else {"type": "CrossEntropyLoss", **one})
            if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and "ignore_index" not in one:
                loss.ignore_index = ignore_index
        else:
            loss = one
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(
                "loss_decode must be a dict such as dict(type='CrossEntropyLoss'), a loss, or a list of them, not "
                f"{one!r}"
            )
        built.append(loss)
    return built


def _called(loss: Any, name: str, logits: Tensor, labels: Tensor, options: dict[str, Any]) -> Any:
    try:
        return loss(logits, labels, **options)
    except (ValueError, RuntimeError) as error:
        if not isinstance(loss, NamedLoss):  # torch's own say what they got, and not what they get from a head
            shapes = f"logits of shape {tuple(logits.shape)} and class numbers of shape {tuple(labels.shape)}"
            error.add_note(
                f"{name} ({type(loss).__name__}) in loss_decode was given {shapes}. For one decision per channel set "
                "dict(type='CrossEntropyLoss', use_sigmoid=True)"
            )
        raise


def _arguments(loss: Any) -> list[str]:
    known = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    anything = any(one.kind is one.VAR_KEYWORD for one in known.values())
    return [name for name in ("weight", "ignore_index") if anything or name in known]


def _name_of(loss: object) -> str:
    """Return the name of a loss in the log; what has no name gets one from its class or function."""
    own = getattr(loss, "loss_name", None)
    if own is None:
        word = getattr(loss, "__name__", type(loss).__name__)
        return "loss_" + re.sub(r"\W+", "_", word.removesuffix("Loss")).lower()
    if "loss" not in own:
        LOG.warning("loss_name=%r has no 'loss' in it, so it is logged and not trained on, as in MMSegmentation", own)
    return str(own)


def _sampler(sampler: object, losses: Sequence[Any]) -> OHEMPixelSampler | None:
    """Return the sampler of a head, if its losses can be told which pixels to take."""
    if sampler is None or isinstance(sampler, OHEMPixelSampler):
        made = sampler
    elif isinstance(sampler, Mapping) and sampler.get("type") in ("OHEMPixelSampler", OHEMPixelSampler):
        options = {key: value for key, value in sampler.items() if key != "type"}
        check_options(OHEMPixelSampler, options, "sampler")
        made = OHEMPixelSampler(**options)
    else:
        raise ValueError(
            f"sampler: dict(type='OHEMPixelSampler', thresh=..., min_kept=...) is expected, not {sampler!r}"
        )
    for one in losses if made is not None else ():
        if not _can_choose(one, made):
            raise ValueError(
                f"sampler: OHEMPixelSampler chooses pixels, and {_name_of(one)} cannot be told which: it goes with "
                "CrossEntropyLoss, FocalLoss, and with thresh=... with losses of yours that take `weight`"
            )
    return made


def _can_choose(loss: object, sampler: OHEMPixelSampler | None) -> bool:
    """Tell whether a loss can leave pixels out, and tell the loss of each where the sampler asks for it."""
    if isinstance(loss, NamedLoss):
        return loss.takes_pixel_weights
    return sampler is not None and sampler.thresh is not None and "weight" in _arguments(loss)
