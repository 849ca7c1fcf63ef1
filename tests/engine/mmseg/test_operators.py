"""The operators in torch equal loops over the papers' formulae, and autograd differentiates them."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_engine.mmseg.operators import deform_conv2d, deformable_attention, psa_mask, sigmoid_focal_loss

CONVOLUTIONS = {
    "plain": {"groups": 1, "parts": 1},
    "strided": {"groups": 1, "parts": 1, "stride": (2, 1), "padding": (1, 2)},
    "dilated": {"groups": 2, "parts": 1, "dilation": (2, 1), "padding": (2, 0)},
    "in parts": {"groups": 1, "parts": 2, "padding": (0, 1)},
    "both": {"groups": 2, "parts": 4, "stride": (1, 2), "padding": (1, 1), "dilation": (1, 2)},
}


def random(*shape: int, spread: float = 1.0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))) * spread


def between(picture: Tensor, y: float, x: float) -> float:
    """Return the value of a picture between its pixels: the sum over all, each weighed by its distance."""
    return sum(
        max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column)) * value
        for row, values in enumerate(picture.tolist())
        for column, value in enumerate(values)
    )


def convolution_case(
    *, groups: int, parts: int, modulated: bool = False, **settings: tuple[int, int]
) -> tuple[list[Tensor], dict[str, Any]]:
    """Return input, offset, weight (and mask), and the settings, with a kernel of 2 x 3."""
    weight = random(2 * groups, 4 // groups, 2, 3)
    size = F.conv2d(random(1, 4, 5, 6), weight, groups=groups, **settings).shape[2:]
    tensors = [random(2, 4, 5, 6), random(2, parts * 12, *size, spread=1.7), weight]
    tensors += [random(2, parts * 6, *size).sigmoid()] if modulated else []
    return tensors, {"groups": groups, **settings}


def convolve(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None = None,
    *,
    groups: int,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> Tensor:
    """Sum over kernel and channels, value by value."""
    outs, of_group, *kernel = weight.shape
    points = kernel[0] * kernel[1]
    result = input.new_zeros(len(input), outs, *offset.shape[2:])
    of_part = input.shape[1] // (offset.shape[1] // (2 * points))
    for at in product(*map(range, result.shape)):
        sample, out, row, column = at
        for inner, i, j in product(range(of_group), range(kernel[0]), range(kernel[1])):
            channel = out // (outs // groups) * of_group + inner
            number = channel // of_part * points + i * kernel[1] + j
            y = row * stride[0] - padding[0] + i * dilation[0] + float(offset[sample, 2 * number, row, column])
            x = column * stride[1] - padding[1] + j * dilation[1] + float(offset[sample, 2 * number + 1, row, column])
            factor = 1.0 if mask is None else float(mask[sample, number, row, column])
            result[at] += weight[out, inner, i, j] * between(input[sample, channel], y, x) * factor
    return result


@pytest.mark.parametrize("modulated", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=list(CONVOLUTIONS))
def test_deformable_convolution_is_the_sum_of_the_papers(case: dict[str, Any], modulated: bool) -> None:
    tensors, settings = convolution_case(**case, modulated=modulated)
    torch.testing.assert_close(deform_conv2d(*tensors, **settings), convolve(*tensors, **settings))


@pytest.mark.parametrize("modulated", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=list(CONVOLUTIONS))
def test_deformable_convolution_is_torchvisions(case: dict[str, Any], modulated: bool) -> None:
    ops = torchvision_operators()
    tensors, settings = convolution_case(**case, modulated=modulated)
    input, offset, weight, *mask = (tensor.requires_grad_() for tensor in tensors)
    given = {name: value for name, value in settings.items() if name != "groups"}
    theirs = ops.deform_conv2d(input, offset, weight, mask=mask[0] if mask else None, **given)
    ours = deform_conv2d(input, offset, weight, *mask, **settings)
    torch.testing.assert_close(ours, theirs)
    above = torch.rand_like(ours)
    for mine, other in zip(*(torch.autograd.grad(one, tensors, above) for one in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=list(CONVOLUTIONS))
def test_without_offsets_it_is_a_convolution(case: dict[str, Any]) -> None:
    (input, offset, weight), settings = convolution_case(**case)
    plain = F.conv2d(input, weight, **settings)
    torch.testing.assert_close(deform_conv2d(input, torch.zeros_like(offset), weight, **settings), plain)


@pytest.mark.parametrize("case", ["strided", "both"])
def test_the_gradients_of_a_deformable_convolution(case: str) -> None:
    tensors, settings = convolution_case(**CONVOLUTIONS[case], modulated=True)
    inputs = tuple(tensor.requires_grad_() for tensor in tensors)
    assert torch.autograd.gradcheck(lambda *each: deform_conv2d(*each, **settings), inputs, fast_mode=True)


def attention_case() -> tuple[Tensor, ...]:
    shapes = torch.tensor([[4, 5], [2, 3], [1, 1]])
    locations = random(2, 3, 2, 3, 4, 2, spread=0.5) + 0.5  # some outside
    weights = random(2, 3, 2, 12).softmax(-1).reshape(2, 3, 2, 3, 4)
    return random(2, 27, 2, 3), shapes, torch.tensor([0, 20, 26]), locations, weights


def test_deformable_attention_is_the_sum_of_the_paper() -> None:
    value, shapes, starts, locations, attention = attention_case()
    expected = value.new_zeros(2, 3, 2, 3)
    for at in product(*map(range, attention.shape)):
        sample, query, head, level, _ = at
        height, width = shapes[level].tolist()
        first = int(starts[level])
        x, y = (locations[at] * torch.tensor([width, height]) - 0.5).tolist()
        for channel in range(3):
            picture = value[sample, first : first + height * width, head, channel].reshape(height, width)
            expected[sample, query, head, channel] += attention[at] * between(picture, y, x)
    found = deformable_attention(value, shapes, starts, locations, attention)
    torch.testing.assert_close(found, expected.flatten(2))


def test_the_gradients_of_deformable_attention() -> None:
    value, shapes, starts, locations, attention = attention_case()
    inputs = (value.requires_grad_(), locations.requires_grad_(), attention.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda value, locations, attention: deformable_attention(value, shapes, starts, locations, attention),
        inputs,
        fast_mode=True,
    )


@pytest.mark.parametrize("size", [(5, 7), (3, 3), (9, 11), (4, 6)], ids=str)
@pytest.mark.parametrize("distribute", [False, True], ids=["collect", "distribute"])
def test_psa_mask_moves_each_map_to_its_pixel(size: tuple[int, int], distribute: bool) -> None:
    height, width = 5, 6
    input = random(2, size[0] * size[1], height, width)
    expected = input.new_zeros(2, height * width, height, width)
    for row, column, other_row, other_column in product(range(height), range(width), range(height), range(width)):
        up, left = other_row - row + size[0] // 2, other_column - column + size[1] // 2
        if 0 <= up < size[0] and 0 <= left < size[1]:
            value = input[:, up * size[1] + left, row, column]
            if distribute:
                expected[:, row * width + column, other_row, other_column] = value
            else:
                expected[:, other_row * width + other_column, row, column] = value
    torch.testing.assert_close(psa_mask(input, size, distribute=distribute), expected, rtol=0, atol=0)


@pytest.mark.parametrize("distribute", [False, True], ids=["collect", "distribute"])
def test_the_gradients_of_psa_mask(distribute: bool) -> None:
    inputs = (random(1, 15, 2, 3).requires_grad_(),)
    assert torch.autograd.gradcheck(lambda input: psa_mask(input, (3, 5), distribute=distribute), inputs)


TARGET = torch.tensor([0, 2, 3, 1, 3, 0])  # 3 is no class


def test_focal_loss_is_the_papers() -> None:
    input = random(6, 3, spread=3)
    for (sample, label), loss in zip(
        product(range(6), range(3)), sigmoid_focal_loss(input, TARGET, 2.5, 0.3).flatten().tolist(), strict=True
    ):
        chance = 1 / (1 + math.exp(-float(input[sample, label])))
        right, share = (chance, 0.3) if TARGET[sample] == label else (1 - chance, 0.7)
        assert loss == pytest.approx(-share * (1 - right) ** 2.5 * math.log(right), rel=1e-12)


def test_focal_loss_is_torchvisions() -> None:
    ops = torchvision_operators()
    input = random(6, 3, spread=3).requires_grad_()
    ours = sigmoid_focal_loss(input, TARGET, 2.0, 0.25)
    theirs = ops.sigmoid_focal_loss(input, F.one_hot(TARGET, 4)[:, :3].double(), 0.25, 2.0)
    torch.testing.assert_close(ours, theirs)
    mine, other = (torch.autograd.grad(one.sum(), input)[0] for one in (ours, theirs))
    torch.testing.assert_close(mine, other)


def test_focal_loss_is_finite_where_a_sigmoid_is_0_or_1() -> None:
    input = torch.tensor([[200.0, -200.0, 0.0]]).requires_grad_()
    loss = sigmoid_focal_loss(input, torch.tensor([1]), 2.0, 0.25)
    (slope,) = torch.autograd.grad(loss.sum(), input)
    assert loss[0].tolist() == pytest.approx([150, 50, 0.75 * 0.25 * math.log(2)])
    assert slope[0, :2].tolist() == pytest.approx([0.75, -0.25])


def test_the_gradients_of_focal_loss() -> None:
    inputs = (random(6, 3).requires_grad_(),)
    assert torch.autograd.gradcheck(lambda input: sigmoid_focal_loss(input, TARGET, 2.0, 0.25), inputs)


def torchvision_operators() -> Any:
    """Return torchvision's operators, where there are some that fit this torch."""
    try:
        from torchvision import ops
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision's operators do not load: {error}")
    return ops
