"""The stand-in for `mmcv._ext`: it is called as mmcv calls compiled operators, with room for results and gradients."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from seg_engine.mmseg import operators
from seg_engine.mmseg.extension import extension

PLACES = {"dW": 2, "dH": 1, "padW": 0, "padH": 2, "dilationW": 1, "dilationH": 2}
V1 = {"kW": 3, "kH": 2, **PLACES, "group": 2, "deformable_group": 2, "im2col_step": 2}
V2 = {"kernel_h": 2, "kernel_w": 3, "stride_h": 1, "stride_w": 2, "pad_h": 2, "pad_w": 0, "dilation_h": 2}
V2 |= {"dilation_w": 1, "group": 2, "deformable_group": 2}
SETTINGS = {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1), "groups": 2}
PSA = {"num_": 2, "h_feature": 3, "w_feature": 4, "h_mask": 5, "w_mask": 7, "half_h_mask": 2, "half_w_mask": 3}
EMPTY = torch.empty(0)


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def filled(*tensors: Tensor) -> list[Tensor]:
    """Return room for results that holds something already: mmcv does not always clear it."""
    return [torch.full_like(tensor, 7.0) for tensor in tensors]


def equal(found: list[Tensor], expected: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_focal_loss_writes_losses_and_slopes() -> None:
    ext, input, target = extension(), leaf(5, 3), torch.tensor([0, 1, 2, 3, 0])
    losses = operators.sigmoid_focal_loss(input, target, 1.5, 0.3)
    output, slopes = filled(input, input)
    ext.sigmoid_focal_loss_forward(input.detach(), target, EMPTY, output, gamma=1.5, alpha=0.3)
    ext.sigmoid_focal_loss_backward(input.detach(), target, EMPTY, slopes, gamma=1.5, alpha=0.3)
    equal([output, slopes], (losses, *torch.autograd.grad(losses.sum(), input)))


def test_focal_loss_with_weights_of_classes_is_refused() -> None:
    ext, input = extension(), torch.zeros(5, 3)
    with pytest.raises(NotImplementedError, match=r"sigmoid_focal_loss with `weight`.* is not among them"):
        ext.sigmoid_focal_loss_forward(input, torch.zeros(5).long(), torch.ones(3), input, gamma=2.0, alpha=0.25)


@pytest.mark.parametrize("kind", [0, 1])
def test_psa_mask_writes_into_its_room(kind: int) -> None:
    ext, input = extension(), leaf(2, 35, 3, 4)
    expected = operators.psa_mask(input, (5, 7), distribute=kind == 1)
    above = torch.rand_like(expected)
    output, gradient = filled(expected, input)
    ext.psamask_forward(input.detach(), output, psa_type=kind, **PSA)
    ext.psamask_backward(above, gradient, psa_type=kind, **PSA)
    equal([output, gradient], (expected, *torch.autograd.grad(expected, input, above)))


def test_a_deformable_convolution_writes_into_its_room() -> None:
    ext, input, weight = extension(), leaf(2, 4, 5, 7), leaf(6, 2, 2, 3)
    offset = leaf(2, 24, 7, 3)
    expected = operators.deform_conv2d(input, offset, weight, **SETTINGS)
    above = torch.rand_like(expected)
    output, for_input, for_offset, for_weight = filled(expected, input, offset, weight)
    tensors = [tensor.detach() for tensor in (input, offset, weight)]
    ext.deform_conv_forward(tensors[0], tensors[2], tensors[1], output, EMPTY, EMPTY, **V1)
    ext.deform_conv_backward_input(*tensors[:2], above, for_input, for_offset, tensors[2], EMPTY, **V1)
    ext.deform_conv_backward_parameters(*tensors[:2], above, for_weight, EMPTY, EMPTY, scale=2, **V1)
    slopes = torch.autograd.grad(expected, (input, offset, weight), above)
    equal([output, for_input, for_offset, for_weight / 2], (expected, *slopes))


@pytest.mark.parametrize("with_bias", [True, False])
def test_a_modulated_convolution_writes_into_its_room(with_bias: bool) -> None:
    ext, input, weight, bias = extension(), leaf(2, 4, 5, 7), leaf(6, 2, 2, 3), leaf(6)
    offset, mask = leaf(2, 24, 7, 3), leaf(2, 12, 7, 3)
    inputs = [input, weight, bias, offset, mask]
    expected = operators.deform_conv2d(input, offset, weight, mask, **SETTINGS)
    if with_bias:
        expected = expected + bias[:, None, None]
    above = torch.rand_like(expected)
    output, *room = filled(expected, *inputs)
    given = [tensor.detach() for tensor in (input, weight, bias, EMPTY, offset, mask)]
    ext.modulated_deform_conv_forward(*given, output, EMPTY, with_bias=with_bias, **V2)
    ext.modulated_deform_conv_backward(*given, EMPTY, *room, above, with_bias=with_bias, **V2)
    wanted = [at for at in range(5) if with_bias or inputs[at] is not bias]
    slopes = torch.autograd.grad(expected, [inputs[at] for at in wanted], above)
    equal([output, *(room[at] for at in wanted)], (expected, *slopes))


def test_deformable_attention_returns_its_result() -> None:
    ext, value, locations, attention = extension(), leaf(2, 26, 2, 4), leaf(2, 7, 2, 2, 3, 2), leaf(2, 7, 2, 2, 3)
    shapes, starts = torch.tensor([[4, 5], [2, 3]]), torch.tensor([0, 20])
    expected = operators.deformable_attention(value, shapes, starts, locations, attention)
    above = torch.rand_like(expected)
    given = (value.detach(), shapes, starts, locations.detach(), attention.detach())
    room = filled(value, locations, attention)
    found = ext.ms_deform_attn_forward(*given, im2col_step=32)
    ext.ms_deform_attn_backward(*given, above, *room, im2col_step=32)
    equal([found, *room], (expected, *torch.autograd.grad(expected, (value, locations, attention), above)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_rounded_once_and_autocast_changes_nothing(dtype: torch.dtype) -> None:
    """Offsets in half precision would move a point by pixels."""
    ext, input, weight, offset = extension(), leaf(2, 4, 5, 7), leaf(6, 2, 2, 3), leaf(2, 24, 7, 3)
    low = [tensor.detach().to(dtype) for tensor in (input, offset, weight)]
    expected = operators.deform_conv2d(*(tensor.float() for tensor in low), **SETTINGS).to(dtype)
    output, gradient = filled(expected, low[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ext.deform_conv_forward(low[0], low[2], low[1], output, EMPTY, EMPTY, **V1)
    ext.deform_conv_backward_input(*low[:2], expected, gradient, filled(low[1])[0], low[2], EMPTY, **V1)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


def test_an_operator_that_is_not_there_says_so_when_it_is_called() -> None:
    ext = extension()
    nms = ext.nms  # mmcv asks for all names at import
    with pytest.raises(NotImplementedError, match=r"operator 'nms' is not among them.*install mmcv"):
        nms(torch.zeros(1, 4), scores=torch.zeros(1))


def test_it_is_a_module_that_import_machinery_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    ext = extension()
    monkeypatch.setitem(sys.modules, "mmcv._ext", ext)
    assert find_spec("mmcv._ext") is ext.__spec__
    assert not hasattr(ext, "__path__")
    assert "torch" in ext.get_compiler_version()
    assert ext.get_compiling_cuda_version() == ext.get_compiler_version()
