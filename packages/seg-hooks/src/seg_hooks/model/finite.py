"""What is not finite: the first loss term of a run, the weights of a checkpoint, the state of its optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

__all__ = ["first_loss", "is_marked", "not_finite", "optimizer_not_finite"]

MOST = 20


def first_loss(losses: Mapping[str, Sequence[float]], step: int) -> tuple[int, list[str]] | None:
    """Find the first step (from 1) with a loss term that is not finite, and those terms; None where all are.

    Args:
        losses: The latest values of each term, the last one of the step that has just been made.
        step: That step.

    Example:
        >>> first_loss({"loss_ce": [1.0, math.nan], "loss_aux": [1.0, 2.0], "loss": [2.0, math.nan]}, step=7)
        (7, ['loss_ce', 'loss'])
    """
    found: dict[int, list[str]] = {}
    for name, values in losses.items():
        index = next((index for index, value in enumerate(values) if not math.isfinite(value)), None)
        if index is not None:
            found.setdefault(step - (len(values) - 1 - index), []).append(name)
    return min(found.items()) if found else None


def is_marked(checkpoint: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint's weights are not finite: by its mark; files without one are looked through."""
    meta = checkpoint.get("meta")
    marked = meta.get("not_finite") if isinstance(meta, Mapping) else None
    return bool(not_finite(checkpoint) if marked is None else marked)


def not_finite(checkpoint: Mapping[str, Any]) -> list[str]:
    """List weights, averaged or raw, that hold NaN or infinity; at most the first few, in one pass over all.

    Minus infinity alone is a mask and no fault.

    >>> not_finite({"state_dict": {"weight": torch.tensor([1.0, math.nan]), "mask": torch.tensor([-math.inf])}})
    ['weight']
    """
    return _spoilt(_floats(checkpoint))


def optimizer_not_finite(checkpoint: Mapping[str, Any]) -> list[str]:
    """List the same of what the optimizer keeps for each parameter: an infinite `exp_avg_sq` ends its learning.

    >>> optimizer_not_finite({"optimizer": {"state": {3: {"exp_avg_sq": torch.tensor([math.inf])}}}})
    ['exp_avg_sq of parameter 3']
    """
    return _spoilt(_kept(checkpoint.get("optimizer"), ""))


def _spoilt(found: Iterable[tuple[str, Tensor]]) -> list[str]:
    """List tensors that are not finite by name: one pass over all, a second one only where there are some."""
    tensors = {id(tensor): (name, tensor) for name, tensor in found}
    sums: dict[torch.device, list[Tensor]] = {}
    for _, tensor in tensors.values():
        sums.setdefault(tensor.device, []).append(_sum(tensor))
    if all(bool(torch.isfinite(torch.stack(row)).all()) for row in sums.values()):
        return []
    names = (name for name, tensor in tensors.values() if _is_spoilt(tensor))
    return [name for name, _ in zip(names, range(MOST), strict=False)]


def _floats(checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for key in ("state_dict", "ema_state_dict"):
        weights = checkpoint.get(key)
        items: Iterable[tuple[Any, Any]] = weights.items() if isinstance(weights, Mapping) else ()
        for name, tensor in items:
            if _is_float(tensor):
                yield str(name), tensor.detach()


def _kept(optimizer: object, place: str) -> Iterator[tuple[str, Tensor]]:
    """Yield float tensors in the state of an optimizer, or of several by name."""
    if not isinstance(optimizer, Mapping):
        return
    if not isinstance(optimizer.get("state"), Mapping):
        for name, one in optimizer.items():
            yield from _kept(one, f" of {name}")
        return
    for index, values in optimizer["state"].items():
        for name, tensor in values.items() if isinstance(values, Mapping) else ():
            if _is_float(tensor):
                yield f"{name} of parameter {index}{place}", tensor.detach()


def _is_float(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.is_floating_point() and value.layout == torch.strided


def _sum(tensor: Tensor) -> Tensor:
    """Return the sum, which is finite only where every element is: the quickest pass over them all."""
    wide = tensor.dtype in (torch.float32, torch.float64)
    return (tensor.sum() if wide else tensor.to(torch.float32).sum()).to(torch.float32)


def _is_spoilt(tensor: Tensor) -> bool:
    wide = tensor if tensor.element_size() > 1 else tensor.to(torch.float32)
    return bool(torch.isnan(wide).any() or (wide == math.inf).any())
