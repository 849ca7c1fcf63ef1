"""Light decode heads: feature maps in, class scores (logits) out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from seg_runner.checks import number, whole
from torch import Tensor, nn
from torch.nn.functional import interpolate

from seg_engine.data.checks import counts

__all__ = ["FuseHead", "TinyFCNHead"]


def conv_norm_act(inside: int, outside: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


def outputs(num_classes: int, out_channels: int | None, head: str) -> tuple[int, int]:
    """Return how many classes there are, and how many channels stand for them."""
    classes = whole(num_classes, f"{head}: num_classes", 1)
    return classes, classes if out_channels is None else whole(out_channels, f"{head}: out_channels", 1)


def dropout(ratio: float, head: str) -> nn.Dropout2d:
    """Return the layer that drops channels while training; MMSegmentation's configs write -1 for none, too.

    Raises:
        ValueError: It would drop all of them.
    """
    share = max(number(ratio, f"{head}: dropout_ratio", most=1), 0)
    if share == 1:
        raise ValueError(f"{head}: dropout_ratio=1 would drop everything, so that nothing is learnt: 0.1 is usual")
    return nn.Dropout2d(share)


class FuseHead(nn.Module):
    """Adds up feature maps from coarse to fine (a feature pyramid) and classifies each pixel of the finest.

    In a config: `dict(type='FuseHead', in_channels=[16, 32, 64, 128], channels=32, num_classes=19)`.

    Args:
        in_channels: Channels of each feature map that is used.
        channels: Channels inside the head.
        num_classes: Number of classes.
        in_index: Which of the backbone's maps are used, finest first; None: all.
        dropout_ratio: Share of channels dropped before the last layer while training; 0, or less, for none.
        out_channels: 1 for two classes in one channel, by sigmoid; default: one channel per class.

    Example:
        >>> maps = [torch.zeros(1, 8, 16, 16), torch.zeros(1, 16, 8, 8)]
        >>> tuple(FuseHead([8, 16], channels=12, num_classes=5)(maps).shape)
        (1, 5, 16, 16)
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] | None = None,
        dropout_ratio: float = 0.1,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        in_channels = counts(in_channels, "FuseHead: in_channels")
        channels = whole(channels, "FuseHead: channels", 1)
        levels = range(len(in_channels)) if in_index is None else counts(in_index, "FuseHead: in_index", None)
        self.in_index = tuple(levels)
        self.num_classes, self.out_channels = outputs(num_classes, out_channels, "FuseHead")
        self.lateral = nn.ModuleList(conv_norm_act(width, channels, 1) for width in in_channels)
        self.smooth = nn.ModuleList(conv_norm_act(channels, channels, 3) for _ in in_channels[:-1])
        self.dropout = dropout(dropout_ratio, "FuseHead")
        self.conv_seg = nn.Conv2d(channels, self.out_channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits N x classes x H x W at the size of the finest map used."""
        levels = [lateral(maps[index]) for lateral, index in zip(self.lateral, self.in_index, strict=True)]
        x = levels.pop()
        for level, smooth in zip(reversed(levels), reversed(self.smooth), strict=True):
            x = smooth(level + interpolate(x, level.shape[-2:], mode="nearest"))
        scores: Tensor = self.conv_seg(self.dropout(x))
        return scores


class TinyFCNHead(nn.Module):
    """Convolutions on one feature map, then one score per class: the usual auxiliary head.

    In a config: `dict(type='TinyFCNHead', in_channels=64, in_index=2, channels=32, num_classes=19)`.

    Args:
        in_channels: Channels of that map.
        channels: Channels inside the head.
        num_classes: Number of classes.
        in_index: Which of the backbone's maps is used.
        num_convs: 3 x 3 convolutions before the last layer.
        dropout_ratio: Share of channels dropped before the last layer while training; 0, or less, for none.
        out_channels: 1 for two classes in one channel, by sigmoid; default: one channel per class.

    Example:
        >>> tuple(TinyFCNHead(8, channels=12, num_classes=5)([torch.zeros(1, 8, 16, 16)]).shape)
        (1, 5, 16, 16)
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        num_convs: int = 1,
        dropout_ratio: float = 0.1,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        in_channels = whole(in_channels, "TinyFCNHead: in_channels", 1)
        channels = whole(channels, "TinyFCNHead: channels", 1)
        self.in_index = whole(in_index, "TinyFCNHead: in_index", None)
        self.num_classes, self.out_channels = outputs(num_classes, out_channels, "TinyFCNHead")
        widths = [in_channels, *[channels] * whole(num_convs, "TinyFCNHead: num_convs")]
        self.convs = nn.Sequential(*(conv_norm_act(a, b, 3) for a, b in pairwise(widths)))
        self.dropout = dropout(dropout_ratio, "TinyFCNHead")
        self.conv_seg = nn.Conv2d(widths[-1], self.out_channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits N x classes x H x W at the size of the map used."""
        scores: Tensor = self.conv_seg(self.dropout(self.convs(maps[self.in_index])))
        return scores
