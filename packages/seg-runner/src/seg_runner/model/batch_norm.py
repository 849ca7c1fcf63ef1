"""Batch norms: SyncBatchNorm for one process and for a CPU; frozen ones computed with the convolution before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeGuard, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from seg_runner.distributed.norms import Meeting, SyncedBatchNorm
from seg_runner.model.prepare import modules_named

__all__ = ["join_frozen_norms", "revert_sync_batch_norms", "synced_batch_norms"]

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _AnyBatchNorm(_BatchNorm):
    """Batch norm for any number of dimensions, which is what SyncBatchNorm accepts."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected an input of at least 2 dimensions, got {input.dim()}")


def revert_sync_batch_norms(model: nn.Module) -> tuple[nn.Module, int]:
    """Turn every SyncBatchNorm of a model into plain batch norm; return the model, and how many there were.

    SyncBatchNorm needs several processes on accelerators; alone, or on a CPU, it raises. Names, weights and
    running statistics stay as they are.
    """
    return _exchanged(model, lambda norm: _like(norm, _AnyBatchNorm) if _is_sync(norm) else None)


def synced_batch_norms(model: nn.Module, meeting: Meeting | None, *, plain: bool) -> tuple[nn.Module, int]:
    """Turn every SyncBatchNorm of a model into one that works on any device; return the model, and how many there were.

    Args:
        model: The model. Names, weights and running statistics stay as they are.
        meeting: Where ranks meet in the middle of a pass; None: torch's own SyncBatchNorm, which is for CUDA.
        plain: Turn plain batch norms into synced ones, too (`sync_bn`).
    """

    def synced(norm: nn.Module) -> _BatchNorm | None:
        if not (_is_sync(norm) or (plain and isinstance(norm, PLAIN))):
            return None
        if meeting is None:
            return None if _is_sync(norm) else _like(norm, nn.SyncBatchNorm)
        made = _like(norm, SyncedBatchNorm)
        made.meeting = meeting
        return made

    return _exchanged(model, synced)


def _exchanged(model: nn.Module, make: Callable[[Any], _BatchNorm | None]) -> tuple[nn.Module, int]:
    """Put another norm in the place of each that a function has one for."""
    if (new := make(model)) is not None:
        return new, 1
    count = 0
    for name, child in model.named_children():
        made, inside = _exchanged(child, make)
        count += inside
        if made is not child:
            setattr(model, name, made)
    return model, count


def _is_sync(module: nn.Module) -> TypeGuard[nn.SyncBatchNorm]:
    """Tell whether a module is a SyncBatchNorm, torch's own or another's with the same attributes (MMCV's)."""
    return isinstance(module, nn.SyncBatchNorm) or (
        type(module).__name__ == "SyncBatchNorm" and hasattr(module, "running_mean")
    )


Norm = TypeVar("Norm", bound=_BatchNorm)


def _like(old: _BatchNorm, kind: type[Norm]) -> Norm:
    """Return a batch norm of another kind that shares the weights and statistics of one."""
    new = kind(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    if old.affine:
        new.weight, new.bias = old.weight, old.bias
    new.running_mean, new.running_var = old.running_mean, old.running_var
    new.num_batches_tracked = old.num_batches_tracked
    new.training = old.training
    if hasattr(old, "qconfig"):  # torch.ao's settings for quantisation
        new.qconfig = old.qconfig
    return new


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


def _pairs(module: nn.Module) -> Iterator[tuple[_ConvNd, _BatchNorm]]:
    """Yield each convolution whose output goes into one batch norm and nowhere else; both are called once in a pass."""
    from torch.fx import symbolic_trace

    try:
        graph: Any = symbolic_trace(module).graph
    except Exception:  # its path depends on its input; its parts may not
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
        if isinstance(conv, CONVOLUTIONS) and isinstance(norm, _BatchNorm):
            yield conv, norm


def _join(conv: _ConvNd, norm: _BatchNorm) -> None:
    """Replace the forward of both: the convolution does all while the norm is frozen, which then does nothing."""
    alone, normed = conv.forward, norm.forward

    def convolve(images: torch.Tensor) -> torch.Tensor:
        joint = _is_frozen(norm)
        features: torch.Tensor = conv._conv_forward(images, *_joint_weights(conv, norm)) if joint else alone(images)
        return features

    def normalise(features: torch.Tensor) -> torch.Tensor:
        return features if _is_frozen(norm) else normed(features)

    conv.forward, norm.forward = convolve, normalise  # type: ignore[method-assign, assignment]  # no hook skips a norm


def _is_frozen(norm: _BatchNorm) -> bool:
    """Tell whether a norm normalises by its running statistics."""
    return not norm.training and norm.running_var is not None


def _joint_weights(conv: _ConvNd, norm: _BatchNorm) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of the convolution that computes both."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        factor = factor * norm.weight
    bias = -norm.running_mean * factor if conv.bias is None else (conv.bias - norm.running_mean) * factor
    weight = conv.weight * factor.reshape(-1, *[1] * (conv.weight.dim() - 1))
    return weight, bias + norm.bias if norm.affine else bias
