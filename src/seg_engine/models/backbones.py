"""Two small backbones that train on a CPU within minutes: one in ConvNeXt's style, one in ViT's.

Their parameters carry the names of the large ones, so optimizer settings written for those apply unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from seg_runner.checks import whole
from torch import Tensor, nn

from seg_engine.data.checks import counts

__all__ = ["TinyConvNeXt", "TinyViT"]


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a two-layer network on each pixel, added to the input (arXiv:2201.03545, fig. 4)."""

    def __init__(self, channels: int, kernel: int, ratio: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise_conv1 = nn.Conv2d(channels, ratio * channels, 1)
        self.act = nn.GELU()
        self.pointwise_conv2 = nn.Conv2d(ratio * channels, channels, 1)
        self.gamma = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return N x C x H x W, unchanged in shape."""
        y: Tensor = self.pointwise_conv2(self.act(self.pointwise_conv1(self.norm(self.depthwise_conv(x)))))
        return x + self.gamma[:, None, None] * y


class TinyConvNeXt(nn.Module):
    """A four-stage pyramid in ConvNeXt's style, for images of a few hundred pixels.

    Its stages lie at 1/2, 1/4, 1/8 and 1/16 of the image (`stem_stride=4` for 1/4 to 1/32, as in the original).
    Parameters are named `downsample_layers.{stage}` and `stages.{stage}.{block}`, which is what
    `LearningRateDecayOptimizerConstructor` reads the depth from. Block norms are batch norms: quicker on a CPU, and
    better from random weights in a few hundred steps.

    Args:
        depths: Blocks in each stage.
        channels: Channels of each stage.
        kernel_size: Of the depthwise convolutions.
        ratio: How much wider the inside of a block is.
        stem_stride: How much the first layer shrinks the image.
        in_channels: Channels of the image.

    Example:
        >>> [tuple(x.shape[1:]) for x in TinyConvNeXt()(torch.zeros(1, 3, 64, 64))]
        [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]
    """

    def __init__(
        self,
        depths: Sequence[int] = (1, 1, 3, 2),
        channels: Sequence[int] = (16, 32, 64, 128),
        kernel_size: int = 5,
        ratio: int = 3,
        stem_stride: int = 2,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        depths, channels = counts(depths, "TinyConvNeXt: depths"), counts(channels, "TinyConvNeXt: channels")
        kernel_size, ratio, stem_stride, in_channels = (
            whole(value, f"TinyConvNeXt: {name}", 1)
            for name, value in (
                ("kernel_size", kernel_size), ("ratio", ratio), ("stem_stride", stem_stride),
                ("in_channels", in_channels),
            )
        )  # fmt: skip
        if kernel_size % 2 == 0:
            raise ValueError(f"TinyConvNeXt: kernel_size={kernel_size} must be odd, so that maps keep their size")
        if len(depths) != len(channels):
            raise ValueError(f"TinyConvNeXt: {len(depths)} depths but {len(channels)} channels; one of each per stage")
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        width = in_channels
        for stage, (depth, wide) in enumerate(zip(depths, channels, strict=True)):
            step = stem_stride if stage == 0 else 2
            kernel = 2 * step - 1 if stage == 0 else 2
            conv = nn.Conv2d(width, wide, kernel, step, padding=(kernel - step + 1) // 2)
            self.downsample_layers.append(nn.Sequential(conv, nn.BatchNorm2d(wide)))
            self.stages.append(nn.Sequential(*(ConvNeXtBlock(wide, kernel_size, ratio) for _ in range(depth))))
            width = wide
        self.out_channels = tuple(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one feature map per stage."""
        outputs = []
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
            outputs.append(x)
        return tuple(outputs)


class TransformerLayer(nn.Module):
    """Self-attention and a two-layer network, each after a layer norm and added to its input."""

    def __init__(self, channels: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(channels)
        self.ffn = nn.Sequential(
            nn.Linear(channels, ratio * channels), nn.GELU(), nn.Linear(ratio * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return N x tokens x C, unchanged in shape."""
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        z: Tensor = self.ffn(self.norm2(x))
        return x + z


class TinyViT(nn.Module):
    """A small vision transformer on patches, with a convolutional stem whose finer maps are returned as well.

    It has a `pos_embed`, a `cls_token` and layer norms named `norm…`: what `paramwise_cfg.custom_keys` usually exempts
    from weight decay. Images of another size than `img_size` get the position embedding resized.

    Args:
        img_size: Side of the images that the position embedding is made for.
        patch_size: Pixels per token, a power of two; finer maps come from the stem.
        embed_dims: Channels of a token.
        num_layers: Transformer layers.
        num_heads: Attention heads.
        mlp_ratio: How much wider the inside of a layer's second half is.
        in_channels: Channels of the image.

    Example:
        >>> [tuple(x.shape[1:]) for x in TinyViT(img_size=64, embed_dims=96)(torch.zeros(1, 3, 64, 64))]
        [(12, 32, 32), (24, 16, 16), (48, 8, 8), (96, 8, 8)]
    """

    def __init__(
        self,
        img_size: int = 192,
        patch_size: int = 8,
        embed_dims: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        mlp_ratio: int = 2,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        img_size, patch_size, embed_dims, num_layers, num_heads, mlp_ratio, in_channels = (
            whole(value, f"TinyViT: {name}", 1)
            for name, value in (
                ("img_size", img_size), ("patch_size", patch_size), ("embed_dims", embed_dims),
                ("num_layers", num_layers), ("num_heads", num_heads), ("mlp_ratio", mlp_ratio),
                ("in_channels", in_channels),
            )
        )  # fmt: skip
        if embed_dims % num_heads or img_size < patch_size or embed_dims < patch_size:
            raise ValueError(
                f"TinyViT: embed_dims={embed_dims} must be a multiple of num_heads={num_heads} and at least "
                f"patch_size={patch_size}; img_size={img_size} must be at least that, too"
            )
        halvings = patch_size.bit_length() - 1
        if 2**halvings != patch_size or halvings < 1:
            raise ValueError(f"TinyViT: patch_size={patch_size}; a power of two is needed, such as 8")
        widths = [embed_dims >> (halvings - step) for step in range(halvings)]
        self.stem = nn.ModuleList()
        for before, after in zip([in_channels, *widths], widths, strict=False):
            conv = nn.Conv2d(before, after, 3, 2, 1, bias=False)
            again = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            layers = [conv, nn.BatchNorm2d(after), nn.GELU(), again, nn.BatchNorm2d(after), nn.GELU()]
            self.stem.append(nn.Sequential(*layers))
        self.patch_embed = nn.Conv2d(widths[-1], embed_dims, 1)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        side = img_size // patch_size
        self.pos_embed = nn.Parameter(torch.randn(1, embed_dims, side, side) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(embed_dims, num_heads, mlp_ratio) for _ in range(num_layers))
        self.norm = nn.LayerNorm(embed_dims)
        self.out_channels = (*widths, embed_dims)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the stem's maps, finest first, then the tokens as a map."""
        outputs = []
        for layer in self.stem:
            x = layer(x)
            outputs.append(x)
        x = self.patch_embed(x)
        tokens = (x + self.position(x)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        for block in self.layers:
            tokens = block(tokens)
        x = self.norm(tokens)[:, 1:].transpose(1, 2).reshape(x.shape)
        return (*outputs, x)

    def position(self, x: Tensor) -> Tensor:
        """Return the position embedding at the size of `x`."""
        if self.pos_embed.shape[-2:] == x.shape[-2:]:
            return self.pos_embed
        return nn.functional.interpolate(self.pos_embed, x.shape[-2:], mode="bicubic", align_corners=False)
