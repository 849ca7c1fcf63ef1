"""Segmentor: backbone, decode head and auxiliary head from a config, with the steps that training loops call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from seg_runner import LogitsModel
from torch import Tensor, nn

from seg_engine.pipeline import build

__all__ = ["Segmentor"]

Cfg = Mapping[str, Any]


class Segmentor(LogitsModel):
    """A segmentation model described as in MMSegmentation: data preprocessor, backbone, decode head, auxiliary head.

    Backbone and heads are any classes registered as models. A backbone returns feature maps; a head takes all of them
    and returns logits of any size. Or `network` is one module, or its dict, that maps images to logits by itself.

    Args:
        backbone: Images (N x 3 x H x W) to feature maps.
        decode_head: Feature maps to logits; its `loss_decode` says which loss, its `num_classes` how many classes.
        neck: Between backbone and heads.
        auxiliary_head: One or several more heads, used while training only.
        data_preprocessor: Usually a `SegDataPreProcessor`.
        train_cfg: Accepted for configs' sake; there is nothing to set.
        test_cfg: `dict(mode='whole')`, or `dict(mode='slide', crop_size=(h, w), stride=(h, w))`.
        network: Instead of backbone and heads.

    Raises:
        TypeError: neither a backbone with a decode head nor a network is given.

    Example:
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
        if network is None and (backbone is None or decode_head is None):
            raise TypeError("Segmentor needs backbone=... and decode_head=..., or network=... that gives logits")
        align = bool(_option(decode_head, "align_corners", False))
        super().__init__(
            build("model", network) if network is not None else HeadedNetwork(backbone, neck, heads),
            loss=SegmentationLoss(**_loss_options(decode_head)),
            data_preprocessor=build("model", data_preprocessor),
            test_cfg=test_cfg,
            aux_weight=_relative_weights(heads),
            align_corners=align,
        )


class HeadedNetwork(nn.Module):
    """Backbone, neck and heads: logits of the decode head; while training those of the auxiliary heads too."""

    def __init__(self, backbone: Any, neck: Any, heads: Sequence[Any]) -> None:
        super().__init__()
        self.backbone = build("model", backbone)
        if neck is not None:
            self.neck = build("model", neck)
        self.decode_head = build("model", _without_loss(heads[0]))
        if heads[1:]:
            self.auxiliary_head = nn.ModuleList(build("model", _without_loss(head)) for head in heads[1:])

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """N x 3 x H x W to logits, or while training to a tuple of them, where there are auxiliary heads."""
        maps = self.backbone(images)
        if "neck" in self._modules:
            maps = self.neck(maps)
        logits: Tensor = self.decode_head(maps)
        if self.training and "auxiliary_head" in self._modules:
            return (logits, *(head(maps) for head in self.auxiliary_head))
        return logits


class SegmentationLoss(nn.Module):
    """Cross-entropy of logits N x C x H x W and labels N x H x W, with the share of pixels that are right.

    Args:
        loss_weight: Factor on the loss.
        class_weight: One factor per class.
        ignore_index: Label of pixels that do not count.
        avg_non_ignore: Divide by the pixels that count; otherwise by all, as MMSegmentation does unless told.

    Example:
        >>> losses = SegmentationLoss(avg_non_ignore=True)(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 255]]]))
        >>> {name: round(float(value), 3) for name, value in losses.items()}
        {'loss_ce': 0.693, 'acc_seg': 100.0}
    """

    weight: Tensor | None

    def __init__(
        self,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
        avg_non_ignore: bool = False,
    ) -> None:
        super().__init__()
        self.loss_weight, self.ignore_index, self.avg_non_ignore = loss_weight, ignore_index, avg_non_ignore
        weight = None if class_weight is None else torch.tensor(list(class_weight), dtype=torch.float32)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`loss_ce` and `acc_seg` (percent)."""
        each = nn.functional.cross_entropy(
            logits, labels, self.weight, ignore_index=self.ignore_index, reduction="none"
        )
        counted = labels != self.ignore_index
        loss = each.sum() / (counted.sum().clamp_min(1) if self.avg_non_ignore else counted.numel())
        right = (logits.detach().argmax(1) == labels) & counted
        accuracy = 100 * right.sum() / counted.sum().clamp_min(1)
        return {"loss_ce": self.loss_weight * loss, "acc_seg": accuracy}

    def counted_pixels(self, labels: Tensor) -> Tensor | None:
        """What the loss divides by, for accumulation; None where that is the number of all pixels."""
        return (labels != self.ignore_index).sum() if self.avg_non_ignore else None


def _listed(heads: Any) -> list[Any]:
    if heads is None:
        return []
    return [heads] if isinstance(heads, Mapping | nn.Module) and not isinstance(heads, nn.ModuleList) else list(heads)


def _option(head: Any, name: str, default: Any) -> Any:
    return head.get(name, default) if isinstance(head, Mapping) else getattr(head, name, default)


def _without_loss(head: Any) -> Any:
    """What the head itself is built from: the loss and the resizing are the Segmentor's affair."""
    if not isinstance(head, Mapping):
        return head
    return {key: value for key, value in head.items() if key not in ("loss_decode", "align_corners", "ignore_index")}


def _loss_options(head: Any) -> dict[str, Any]:
    """The options of `SegmentationLoss` in a head's `loss_decode`."""
    loss = dict(_option(head, "loss_decode", None) or {})
    kind = loss.pop("type", "CrossEntropyLoss")
    if kind not in ("CrossEntropyLoss", nn.CrossEntropyLoss) or loss.pop("use_sigmoid", False):
        raise ValueError(
            f"Segmentor: loss_decode={kind!r}; it has softmax cross-entropy (type='CrossEntropyLoss') only"
        )
    known = {"loss_weight", "class_weight", "avg_non_ignore", "loss_name"}
    strange = sorted(set(loss) - known)
    if strange:
        raise TypeError(f"loss_decode has no option {strange[0]!r}; it knows {', '.join(sorted(known))}")
    ignore = int(_option(head, "ignore_index", 255))
    return {
        "loss_weight": float(loss.get("loss_weight", 1.0)),
        "class_weight": loss.get("class_weight"),
        "avg_non_ignore": bool(loss.get("avg_non_ignore", False)),
        "ignore_index": ignore,
    }


def _relative_weights(heads: Sequence[Any]) -> list[float]:
    """The weight of each auxiliary loss as a multiple of the main one's, which the loss itself applies."""
    main, *others = (_loss_options(head)["loss_weight"] for head in heads)
    return [other / main if main else 0.0 for other in others]
