"""The operators that MMSegmentation takes from mmcv, in torch: forwards, which autograd differentiates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]


def sigmoid_focal_loss(input: Tensor, target: Tensor, gamma: float, alpha: float) -> Tensor:
    """Return the focal loss of each sample and class (Lin et al. 2017, equation 5), with sigmoids.

    Args:
        input: Logits, shape (samples, classes).
        target: The class of each sample, shape (samples,); one that is no class (`classes`, say) makes a sample
            negative for all.
        gamma: How fast the loss falls for samples that are right already.
        alpha: The weight of positives; negatives weigh `1 - alpha`.
    """
    positive = target[:, None] == torch.arange(input.shape[1], device=input.device)
    chance = input.sigmoid()
    hit = alpha * (1 - chance) ** gamma * F.logsigmoid(input)
    miss = (1 - alpha) * chance**gamma * F.logsigmoid(-input)
    return -torch.where(positive, hit, miss)


def psa_mask(input: Tensor, mask_size: Pair, *, distribute: bool) -> Tensor:
    """Return the attention of each pixel for each other, from maps that are centred on a pixel (Zhao et al. 2018).

    Args:
        input: For each pixel an over-complete map of `mask_size`, shape (batch, map rows * map columns, height, width).
        mask_size: Rows and columns of a map; a neighbour beyond its edge gets 0.
        distribute: The map of a pixel says what it gives to the others; otherwise what it collects from them.

    Returns:
        Shape (batch, height * width, height, width): the channel is the pixel that gives, the place the one that gets.
    """
    batch, _, height, width = input.shape
    place = torch.arange(height * width, device=input.device)
    shift = [at[:, None] - at + size // 2 for at, size in zip((place // width, place % width), mask_size, strict=True)]
    rows, columns = mask_size
    inside = (shift[0] >= 0) & (shift[0] < rows) & (shift[1] >= 0) & (shift[1] < columns)
    channel = torch.where(inside, shift[0] * columns + shift[1], 0)  # [other pixel, pixel of the map]
    found = input.flatten(2).gather(1, channel.expand(batch, -1, -1)) * inside
    if distribute:
        found = found.transpose(1, 2)
    return found.reshape(batch, height * width, height, width)


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Return a deformable convolution (Dai et al. 2017), with a `mask` a modulated one (Zhu et al. 2019).

    Args:
        input: Shape (batch, channels, height, width).
        offset: How far each point of the kernel is moved, in pixels: shape (batch, groups of offsets * points * 2,
            out height, out width), for each point its row, then its column.
        weight: Shape (out channels, channels / `groups`, kernel height, kernel width).
        mask: What a sampled value is multiplied by: shape (batch, groups of offsets * points, out height, out width).
        stride: Of the kernel, rows and columns.
        padding: Zeros around the input.
        dilation: Distance between the points of the kernel.
        groups: Of channels that the convolution keeps apart.
    """
    batch, channels, height, width = input.shape
    outs, _, *kernel = weight.shape
    points = kernel[0] * kernel[1]
    parts = offset.shape[1] // (2 * points)
    place = offset.shape[2:]
    moved = offset.reshape(batch, parts, *kernel, 2, *place)
    y = moved[:, :, :, :, 0] + _grid(offset, kernel[0], place[0], stride[0], padding[0], dilation[0])[:, None, :, None]
    x = moved[:, :, :, :, 1] + _grid(offset, kernel[1], place[1], stride[1], padding[1], dilation[1])[:, None]
    share, index = _corners(y, x, height, width)
    if mask is not None:
        share = share * mask.reshape(y.shape)[..., None]
    first = torch.arange(batch * parts, device=input.device).reshape(batch, parts, 1, 1, 1, 1, 1) * (height * width)
    rows = input.reshape(batch * parts, -1, height * width).transpose(1, 2).reshape(-1, channels // parts)
    columns = _weighted_sums(rows, index + first, share, bag=4)
    columns = columns.reshape(batch, parts, points, place.numel(), channels // parts).permute(0, 1, 4, 2, 3)
    columns = columns.reshape(batch, groups, channels // groups * points, place.numel())
    return (weight.reshape(groups, outs // groups, -1) @ columns).reshape(batch, outs, *place)


def deformable_attention(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, attention: Tensor) -> Tensor:
    """Return multi-scale deformable attention (Zhu et al. 2021, equation 3), without its projections.

    Args:
        value: Shape (batch, places of all levels, heads, channels of a head).
        shapes: Height and width of each level, shape (levels, 2).
        starts: The first place of each level, shape (levels,).
        locations: Where to look, x and y in parts of the level, shape (batch, queries, heads, levels, points, 2).
        attention: Shape (batch, queries, heads, levels, points).

    Returns:
        Shape (batch, queries, heads * channels of a head).
    """
    batch, places, heads, channels = value.shape
    height, width = (size[:, None] for size in shapes.unbind(1))  # each beside the points of its level
    x, y = locations[..., 0] * width - 0.5, locations[..., 1] * height - 0.5
    share, index = _corners(y, x, height, width)
    index = index + starts[:, None, None]
    head = torch.arange(heads, device=value.device)[:, None, None, None]
    sample = torch.arange(batch, device=value.device).reshape(-1, 1, 1, 1, 1, 1) * places
    bag = 4 * attention.shape[3] * attention.shape[4]
    rows = (index + sample) * heads + head
    sums = _weighted_sums(value.reshape(-1, channels), rows, share * attention[..., None], bag)
    return sums.reshape(batch, -1, heads * channels)


def _grid(like: Tensor, kernel: int, outs: int, stride: int, padding: int, dilation: int) -> Tensor:
    """Return where the points of a kernel lie that nothing moves, on one axis: shape (kernel, outs)."""
    point = torch.arange(kernel, device=like.device, dtype=like.dtype) * dilation
    return point[:, None] + torch.arange(outs, device=like.device, dtype=like.dtype) * stride - padding


def _corners(y: Tensor, x: Tensor, height: int | Tensor, width: int | Tensor) -> tuple[Tensor, Tensor]:
    """Return the share and the index in a picture of the four pixels round each point; pixels outside have share 0."""
    shares, indices = [], []
    low_y, low_x = y.detach().floor(), x.detach().floor()
    for row, share_y in ((low_y, 1 - (y - low_y)), (low_y + 1, y - low_y)):
        for column, share_x in ((low_x, 1 - (x - low_x)), (low_x + 1, x - low_x)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            shares.append(torch.where(inside, share_y * share_x, 0))
            indices.append(torch.where(inside, row.long() * width + column.long(), 0))
    return torch.stack(shares, -1), torch.stack(indices, -1)


def _weighted_sums(rows: Tensor, index: Tensor, share: Tensor, bag: int) -> Tensor:
    """Return for each `bag` of indices the weighted sum of these rows: shape (bags, channels)."""
    return F.embedding_bag(index.reshape(-1, bag), rows, per_sample_weights=share.reshape(-1, bag), mode="sum")
