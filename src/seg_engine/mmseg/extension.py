"""A stand-in for `mmcv._ext`, mmcv's compiled operators: the names that it has, called as mmcv calls them."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from typing import TypeAlias

import torch
from torch import Tensor

from seg_engine.mmseg import operators

IN_TORCH = "sigmoid focal loss, PSAMask, deformable convolution (both versions), multi-scale deformable attention"
# A function of mmcv's is given tensors in a fixed order, some of them to write its result into, and settings by name.
Formula: TypeAlias = Callable[..., Tensor]


class Extension(types.ModuleType):
    """Stands in for a compiled module: an operator that it does not have says so when it is called.

    mmcv asks for every name of its operators when it is imported, so a missing one cannot be an error there.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(_refuse, repr(name))


def extension() -> Extension:
    """Return a stand-in for `mmcv._ext`."""
    module = Extension("mmcv._ext", __doc__)
    module.__spec__ = ModuleSpec("mmcv._ext", None, origin="seg_engine.mmseg")
    vars(module).update(OPERATORS)
    return module


def _refuse(name: str, *_args: object, **_settings: object) -> None:
    raise NotImplementedError(
        "mmcv-lite has no compiled operators; seg_engine.mmseg has those in torch that MMSegmentation's own models "
        f"call: {IN_TORCH}. The operator {name} is not among them: for it, install mmcv in place of mmcv-lite, "
        "compiled for your torch"
    )


def _forward(formula: Formula, tensors: Sequence[Tensor]) -> Tensor:
    """Compute in float32 or wider, as autocast of the surroundings would not."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        return formula(*(_wide(tensor) for tensor in tensors))


def _backward(formula: Formula, tensors: Sequence[Tensor], gradient: Tensor, into: Sequence[Tensor]) -> None:
    """Differentiate by autograd, with the formula computed once more; write the gradients into given tensors."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        result = _forward(formula, leaves)
        found = torch.autograd.grad(result, leaves, _wide(gradient).reshape(result.shape))
    for target, value in zip(into, found, strict=True):
        target.copy_(value)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _focal(target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Formula:
    if weight.numel():
        _refuse("sigmoid_focal_loss with `weight`, one for each class,")
    return lambda input: operators.sigmoid_focal_loss(input, target, gamma, alpha)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the loss of each sample and class into `output`."""
    output.copy_(_forward(_focal(target, weight, gamma, alpha), [input]))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the slope of each loss into `grad_input`; mmcv multiplies it by what comes from above."""
    _backward(_focal(target, weight, gamma, alpha), [input], torch.ones_like(input), [grad_input])


def _psa(psa_type: int, h_mask: int, w_mask: int, **_sizes: int) -> Formula:
    return lambda input: operators.psa_mask(input, (h_mask, w_mask), distribute=psa_type == 1)


def psamask_forward(input: Tensor, output: Tensor, **settings: int) -> None:
    """Write the attention of each pixel for each other into `output`."""
    output.copy_(_forward(_psa(**settings), [input]))


def psamask_backward(grad_output: Tensor, grad_input: Tensor, **settings: int) -> None:
    """Write the gradient of the maps; the operator is linear, so any input will do."""
    _backward(_psa(**settings), [torch.zeros_like(grad_input)], grad_output, [grad_input])


def _deform(**settings: int) -> Formula:
    return partial(
        operators.deform_conv2d,
        stride=(settings["dH"], settings["dW"]),
        padding=(settings["padH"], settings["padW"]),
        dilation=(settings["dilationH"], settings["dilationW"]),
        groups=settings["group"],
    )


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **settings: int
) -> None:
    """Write the convolution into `output`; `columns` and `ones` are room for the compiled one."""
    output.copy_(_forward(_deform(**settings), [input, offset, weight]))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **settings: int,
) -> None:
    """Write the gradients of the input and of the offsets."""

    def formula(input: Tensor, offset: Tensor) -> Tensor:
        return _deform(**settings)(input, offset, _wide(weight))

    _backward(formula, [input, offset], grad_output, [grad_input, grad_offset])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **settings: int,
) -> None:
    """Write the gradient of the weight, times `scale`."""

    def formula(weight: Tensor) -> Tensor:
        return _deform(**settings)(_wide(input), _wide(offset), weight) * scale

    _backward(formula, [grad_weight], grad_output, [grad_weight])  # linear in the weight: any will do


def _modulated(*, with_bias: int, **settings: int) -> Formula:
    def formula(input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, *bias: Tensor) -> Tensor:
        result = operators.deform_conv2d(
            input,
            offset,
            weight,
            mask,
            stride=(settings["stride_h"], settings["stride_w"]),
            padding=(settings["pad_h"], settings["pad_w"]),
            dilation=(settings["dilation_h"], settings["dilation_w"]),
            groups=settings["group"],
        )
        return result + bias[0][:, None, None] if with_bias else result

    return formula


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    **settings: int,
) -> None:
    """Write the modulated convolution into `output`; `columns` and `ones` are room for the compiled one."""
    output.copy_(_forward(_modulated(**settings), [input, weight, offset, mask, bias]))


def modulated_deform_conv_backward(*tensors: Tensor, **settings: int) -> None:
    """Write the gradients of everything; the order of the 13 tensors is mmcv's."""
    input, weight, bias, _, offset, mask, _ = tensors[:7]
    grad_input, grad_weight, grad_bias, grad_offset, grad_mask, grad_output = tensors[7:]
    inputs, into = [input, weight, offset, mask], [grad_input, grad_weight, grad_offset, grad_mask]
    if settings["with_bias"]:
        inputs, into = [*inputs, bias], [*into, grad_bias]
    _backward(_modulated(**settings), inputs, grad_output, into)


def _attention(shapes: Tensor, starts: Tensor) -> Formula:
    return lambda value, locations, attention: operators.deformable_attention(
        value, shapes, starts, locations, attention
    )


def ms_deform_attn_forward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, attention: Tensor, *, im2col_step: int
) -> Tensor:
    """Return multi-scale deformable attention."""
    return _forward(_attention(shapes, starts), [value, locations, attention]).to(value.dtype)


def ms_deform_attn_backward(*tensors: Tensor, im2col_step: int) -> None:
    """Write the gradients of values, locations and attention; the order of the 9 tensors is mmcv's."""
    value, shapes, starts, locations, attention, grad_output, *into = tensors
    _backward(_attention(shapes, starts), [value, locations, attention], grad_output, into)


def no_compiler() -> str:
    """Return what `mmcv.utils` shows where a compiler's version would stand."""
    return "none, operators in torch by seg_engine.mmseg"


OPERATORS: dict[str, Callable[..., object]] = {
    function.__name__: function
    for function in (
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        psamask_forward,
        psamask_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        ms_deform_attn_forward,
        ms_deform_attn_backward,
    )
} | dict.fromkeys(("get_compiler_version", "get_compiling_cuda_version"), no_compiler)
