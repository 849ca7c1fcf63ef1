"""Convolution and batch norm computed as one while the norm does not train (`efficient_conv_bn_eval`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from seg_runner.model.changes import modules_named

__all__ = ["join_frozen_norms"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def join_frozen_norms(model: nn.Module, names: str | Iterable[str]) -> list[str]:
    """Compute each convolution with the batch norm behind it as one convolution, while the norm is in evaluation mode.

    For training with frozen statistics (`norm_eval=True`): the convolution's output is not kept, so a step takes less
    memory and time. Weights, gradients and keys of checkpoints stay as they are; values differ by rounding. A norm that
    trains is computed as ever.

    Formula: You et al. 2023, arXiv 2305.11624, "tune mode": with g = gamma / sqrt(variance + eps), the weight is W g
    and the bias beta + (b - mean) g.

    Args:
        model: The model.
        names: Names of modules, or patterns with `*`, in which pairs are looked for.

    Returns:
        The names of the convolutions that were joined.

    Raises:
        ValueError: a name or pattern matches no module.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
        >>> join_frozen_norms(net, "0")
        ['0.0']
    """
    known = {id(module): name for name, module in model.named_modules()}
    joined: list[str] = []
    for module in modules_named(model, names, "efficient_conv_bn_eval").values():
        for conv, norm in _pairs(module):
            if known[id(conv)] not in joined:
                _join(conv, norm)
                joined.append(known[id(conv)])
    return joined


def _pairs(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Each convolution whose output goes into one batch norm and nowhere else; both are called once in a pass."""
    from torch.fx import symbolic_trace

    try:
        graph: Any = symbolic_trace(module).graph
    except Exception:  # its path depends on its input; the parts of it may be plain
        for child in module.children():
            yield from _pairs(child)
        return
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    for node in calls:
        before: Any = node.args[0] if node.args else None
        if before not in calls or len(before.users) != 1 or times[node.target] + times[before.target] != 2:
            continue
        conv, norm = module.get_submodule(before.target), module.get_submodule(node.target)
        if isinstance(conv, CONVOLUTIONS) and isinstance(norm, nn.modules.batchnorm._BatchNorm):
            yield conv, norm


def _join(conv: Any, norm: Any) -> None:
    alone, normed = conv.forward, norm.forward

    def convolve(images: torch.Tensor) -> torch.Tensor:
        joint = _is_frozen(norm)
        features: torch.Tensor = conv._conv_forward(images, *_joint_weights(conv, norm)) if joint else alone(images)
        return features

    def normalise(features: torch.Tensor) -> torch.Tensor:
        return features if _is_frozen(norm) else normed(features)

    conv.forward, norm.forward = convolve, normalise


def _is_frozen(norm: Any) -> bool:
    return not norm.training and norm.running_var is not None


def _joint_weights(conv: Any, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    factor = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        factor = factor * norm.weight
    bias = -norm.running_mean * factor if conv.bias is None else (conv.bias - norm.running_mean) * factor
    weight = conv.weight * factor.reshape(-1, *[1] * (conv.weight.dim() - 1))
    return weight, bias + norm.bias if norm.affine else bias
