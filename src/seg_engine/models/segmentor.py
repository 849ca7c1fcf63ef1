"""Segmentor: backbone, decode head and auxiliary head from a config, with the steps that training loops call."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from seg_runner import LogitsModel
from seg_runner.checks import number, whole
from torch import Tensor, nn

from seg_engine.data.checks import switch
from seg_engine.data.pipeline import build
from seg_engine.models.head_loss import SegmentationLoss

__all__ = ["SegmentationLoss", "Segmentor"]

LOG = logging.getLogger("seg_engine.models.segmentor")
Cfg = Mapping[str, Any]
OF_THE_LOSS = ("loss_decode", "align_corners", "ignore_index", "sampler", "threshold")
THRESHOLD = 0.3
"""MMSegmentation's."""


class Segmentor(LogitsModel):
    """A segmentation model described as in MMSegmentation: data preprocessor, backbone, decode head, auxiliary head.

    Backbone and heads are any classes registered as models. A backbone returns feature maps; a head takes all of them
    and returns logits of any size. Or `network` is one module, or its dict, that maps images to logits by itself.

    Args:
        backbone: Images (N x 3 x H x W) to feature maps.
        decode_head: Feature maps to logits. Beside the head's own options: `loss_decode`, a loss or a list of them
            (CrossEntropyLoss, DiceLoss, FocalLoss, LovaszLoss, OhemCrossEntropy, TverskyLoss, or a registered class of
            yours), `ignore_index`, `sampler` (OHEMPixelSampler), `align_corners`; with `num_classes=2` and
            `out_channels=1`, one channel for the foreground, `threshold` (0.3): above which probability a pixel is
            foreground.
        neck: Between backbone and heads.
        auxiliary_head: One or several more heads with their own losses, used while training only.
        data_preprocessor: Usually a `SegDataPreProcessor`.
        train_cfg: Accepted for configs' sake; there is nothing to set, and what is set is named.
        test_cfg: `dict(mode='whole')`, or `dict(mode='slide', crop_size=(h, w), stride=(h, w))`; `windows=4` in it
            sends so many through the model at a time.
        network: Instead of backbone and heads.

    Raises:
        TypeError: Neither a backbone with a decode head nor a network is given.
        ValueError: A loss that does not fit its head, or all of them switched off; says what to set.

    Example:
        >>> import torch
        >>> net = nn.Conv2d(3, 4, 1)
        >>> model = Segmentor(network=net)
        >>> list(model.state_dict()), tuple(model(torch.zeros(1, 3, 8, 8)).shape)
        (['weight', 'bias'], (1, 4, 8, 8))
    """

    def __init__(
        self,
        backbone: Cfg | nn.Module | None = None,
        decode_head: Cfg | nn.Module | None = None,
        neck: Cfg | nn.Module | None = None,
        auxiliary_head: Cfg | nn.Module | Sequence[Any] | None = None,
        data_preprocessor: Cfg | nn.Module | None = None,
        train_cfg: Cfg | None = None,
        test_cfg: Cfg | None = None,
        network: Cfg | nn.Module | None = None,
    ) -> None:
        heads = [decode_head, *_listed(auxiliary_head)]
        losses = _head_losses(heads)
        if network is None and (backbone is None or decode_head is None):
            raise TypeError("Segmentor needs backbone=... and decode_head=..., or network=... that gives logits")
        _check_train_cfg(train_cfg)
        super().__init__(
            build("model", network) if network is not None else HeadedNetwork(backbone, neck, heads),
            loss=losses,
            data_preprocessor=build("model", data_preprocessor),
            test_cfg=test_cfg,
            aux_weight=1.0,
            align_corners=losses[0].align_corners,
            threshold=losses[0].threshold,
        )


def _check_train_cfg(train_cfg: object) -> None:
    """Say that what stands in it has no effect."""
    if not isinstance(train_cfg, Mapping | None):
        raise TypeError(f"Segmentor: train_cfg must be a dict, or None, not {train_cfg!r}")
    if train_cfg:
        LOG.warning("Segmentor: train_cfg has no use here; %s does nothing", ", ".join(map(str, train_cfg)))


class HeadedNetwork(nn.Module):
    """Backbone, neck and heads: logits of the decode head; while training those of the auxiliary heads too."""

    def __init__(self, backbone: object, neck: object, heads: Sequence[Any]) -> None:
        super().__init__()
        self.backbone = build("model", backbone)
        if neck is not None:
            self.neck = build("model", neck)
        self.decode_head = build("model", _without_loss(heads[0]))
        if heads[1:]:
            self.auxiliary_head = nn.ModuleList(build("model", _without_loss(head)) for head in heads[1:])

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Turn N x 3 x H x W into logits, or while training to a tuple of them, where there are auxiliary heads."""
        maps = self.backbone(images)
        if "neck" in self._modules:
            maps = self.neck(maps)
        logits: Tensor = self.decode_head(maps)
        if self.training and "auxiliary_head" in self._modules:
            return (logits, *(head(maps) for head in self.auxiliary_head))
        return logits


def _listed(heads: Cfg | nn.Module | Sequence[Any] | None) -> list[Any]:
    if heads is None:
        return []
    return [heads] if isinstance(heads, Mapping | nn.Module) and not isinstance(heads, nn.ModuleList) else list(heads)


def _option(head: object, name: str, default: object) -> Any:
    return head.get(name, default) if isinstance(head, Mapping) else getattr(head, name, default)


def _without_loss(head: object) -> Any:
    """Return what the head itself is built from: loss, resizing and threshold are the Segmentor's affair."""
    if not isinstance(head, Mapping):
        return head
    own = head.copy() if hasattr(head, "copy") else dict(head)  # of a config, it keeps knowing where it stands
    for key in OF_THE_LOSS:
        own.pop(key, None)
    return own


def _head_loss(head: object, name: str) -> SegmentationLoss:
    """Return the losses of one head, checked against its number of channels."""
    channels, threshold = _channels(head, name), _threshold(head, name)
    loss = SegmentationLoss(
        _option(head, "loss_decode", None),
        ignore_index=whole(_option(head, "ignore_index", 255), f"{name}: ignore_index", None),
        sampler=_option(head, "sampler", None),
        threshold=threshold,
        align_corners=switch(_option(head, "align_corners", False), f"{name}: align_corners"),
    )
    if channels is not None:
        loss.check_channels(channels)
    return loss


def _channels(head: object, name: str) -> int | None:
    """Return how many channels a head gives, if it says so: `out_channels`, or as many as there are classes.

    Raises:
        ValueError: It is neither the number of classes, nor 1 for two of them.
    """
    given = {key: _option(head, key, None) for key in ("num_classes", "out_channels")}
    classes, channels = (None if n is None else whole(n, f"{name}: {key}", 1) for key, n in given.items())
    if None not in (classes, channels) and channels != classes and (classes, channels) != (2, 1):
        raise ValueError(
            f"{name}: out_channels={channels} does not go with num_classes={classes}: leave it out, or set "
            "num_classes=2, out_channels=1 for foreground and background in one channel"
        )
    return channels if channels is not None else classes


def _threshold(head: object, name: str) -> float:
    """Tell above which probability a pixel is foreground, where a head gives one channel."""
    threshold, channels = _option(head, "threshold", None), _channels(head, name)
    if threshold is None:
        if channels == 1:
            LOG.info("%s has one channel and no threshold: pixels above probability 0.3 are foreground", name)
        return THRESHOLD
    if channels is not None and channels > 1:
        LOG.warning("%s: threshold=%s has no use with %d channels", name, threshold, channels)
    return number(threshold, f"{name}: threshold", least=0, most=1)


def _head_losses(heads: Sequence[Any]) -> list[SegmentationLoss]:
    """Return the losses of each head, the decode head's first.

    Raises:
        ValueError: All of them are switched off.
    """
    names = ["decode_head", *(f"auxiliary_head[{index}]" for index in range(len(heads) - 1))]
    losses = [_head_loss(head, name) for head, name in zip(heads, names, strict=True)]
    off = [name for name, loss in zip(names, losses, strict=True) if loss.off]
    if len(off) == len(names):
        raise ValueError(f"loss_weight is 0 in {' and '.join(names)}: nothing would be trained")
    for name in off:
        LOG.warning("%s: loss_weight=0 switches its loss off", name)
    return losses
