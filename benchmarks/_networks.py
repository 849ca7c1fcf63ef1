"""Two usual networks in a few lines each, for the benchmarks: SegFormer-B0, and a small UPerNet on ConvNeXt.

Shapes and operations are those of the papers (arXiv:2105.15203, arXiv:2201.03545, arXiv:1807.10221), so that what a
compiler or a device does with them is what it does with the published models; no weights are loaded.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvNeXtUPerNet", "SegFormer"]


def resized(features: Tensor, like: Tensor) -> Tensor:
    """Features at the height and width of others."""
    return F.interpolate(features, like.shape[-2:], mode="bilinear", align_corners=False)


def conv_norm(before: int, after: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Attention(nn.Module):
    """Attention of all pixels to a reduced map."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.reduce = nn.Conv2d(channels, channels, reduction, reduction) if reduction > 1 else nn.Identity()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """N x L x C to the same."""
        n, length, c = x.shape
        query = self.query(x).view(n, length, self.heads, -1).transpose(1, 2)
        smaller = self.reduce(x.transpose(1, 2).reshape(n, c, height, width)).flatten(2).transpose(1, 2)
        both = self.key_value(self.norm(smaller)).view(n, -1, 2, self.heads, c // self.heads)
        key, value = both.permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, length, c))


class MixBlock(nn.Module):
    """Attention, then a network with a depthwise convolution inside."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(channels), Attention(channels, heads, reduction)
        self.norm2, self.fc1 = nn.LayerNorm(channels), nn.Linear(channels, 4 * channels)
        self.depthwise = nn.Conv2d(4 * channels, 4 * channels, 3, padding=1, groups=4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """N x L x C to the same."""
        x = x + self.attn(self.norm1(x), height, width)
        inside = self.fc1(self.norm2(x)).transpose(1, 2).unflatten(2, (height, width))
        return x + self.fc2(F.gelu(self.depthwise(inside).flatten(2).transpose(1, 2)))


class SegFormer(nn.Module):
    """SegFormer-B0: images to logits at a quarter of their size; `blocks` in each stage, of which it has two."""

    CHANNELS, HEADS, REDUCTIONS = (32, 64, 160, 256), (1, 2, 5, 8), (8, 4, 2, 1)

    def __init__(self, classes: int = 19, blocks: int = 2) -> None:
        super().__init__()
        before = (3, *self.CHANNELS)
        self.patches = nn.ModuleList(
            nn.Conv2d(before[i], c, 7 if i == 0 else 3, 4 if i == 0 else 2, 3 if i == 0 else 1)
            for i, c in enumerate(self.CHANNELS)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in 2 * self.CHANNELS)
        self.stages = nn.ModuleList(
            nn.ModuleList(MixBlock(c, heads, reduction) for _ in range(blocks))
            for c, heads, reduction in zip(self.CHANNELS, self.HEADS, self.REDUCTIONS, strict=True)
        )
        self.lateral = nn.ModuleList(conv_norm(c, 256, 1) for c in self.CHANNELS)
        self.fuse, self.classify = conv_norm(4 * 256, 256, 1), nn.Conv2d(256, classes, 1)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W to N x classes x H / 4 x W / 4."""
        x, found = images, []
        for i, stage in enumerate(self.stages):
            x = self.patches[i](x)
            height, width = x.shape[-2:]
            x = self.norms[i](x.flatten(2).transpose(1, 2))
            for block in stage:  # type: ignore[union-attr]
                x = block(x, height, width)
            x = self.norms[4 + i](x).transpose(1, 2).unflatten(2, (height, width)).contiguous()
            found.append(x)
        levels = [lateral(level) for lateral, level in zip(self.lateral, found, strict=True)]
        fused = self.fuse(torch.cat([resized(level, found[0]) for level in levels], 1))
        return self.classify(self.dropout(fused))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of N x C x H x W."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution and a network on each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.fc1 = nn.LayerNorm(channels), nn.Linear(channels, 4 * channels)
        self.fc2, self.gamma = nn.Linear(4 * channels, channels), nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        inside = self.fc2(F.gelu(self.fc1(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        return x + (self.gamma * inside).permute(0, 3, 1, 2)


class ConvNeXtUPerNet(nn.Module):
    """UPerNet on ConvNeXt's smallest size (atto): images to logits at a quarter of their size.

    `blocks` in each stage but the third, which has three times as many; it has two.
    """

    def __init__(self, classes: int = 19, blocks: int = 2, width: int = 40, channels: int = 128) -> None:
        super().__init__()
        depths = (blocks, blocks, 3 * blocks, blocks)
        sizes = [width * 2**i for i in range(4)]
        stem = nn.Sequential(nn.Conv2d(3, width, 4, 4), ChannelNorm(width))
        down = [nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, 2)) for a, b in pairwise(sizes)]
        self.down = nn.ModuleList([stem, *down])
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(size) for _ in range(depth)))
            for size, depth in zip(sizes, depths, strict=True)
        )
        self.pools = nn.ModuleList(conv_norm(sizes[3], channels, 1) for _ in range(4))
        self.bottleneck = conv_norm(sizes[3] + 4 * channels, channels, 3)
        self.lateral = nn.ModuleList(conv_norm(size, channels, 1) for size in sizes[:3])
        self.smooth = nn.ModuleList(conv_norm(channels, channels, 3) for _ in range(3))
        self.fuse, self.classify = conv_norm(4 * channels, channels, 3), nn.Conv2d(channels, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W to N x classes x H / 4 x W / 4."""
        x, found = images, []
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(down(x))
            found.append(x)
        bins = zip(self.pools, (1, 2, 3, 6), strict=True)
        pooled = [resized(conv(F.adaptive_avg_pool2d(x, n)), x) for conv, n in bins]
        levels = [lateral(level) for lateral, level in zip(self.lateral, found, strict=False)]
        levels.append(self.bottleneck(torch.cat([x, *pooled], 1)))
        for i in (2, 1, 0):
            levels[i] = levels[i] + resized(levels[i + 1], levels[i])
        levels = [*(smooth(level) for smooth, level in zip(self.smooth, levels, strict=False)), levels[3]]
        return self.classify(self.fuse(torch.cat([resized(level, levels[0]) for level in levels], 1)))
