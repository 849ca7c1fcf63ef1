"""What is not finite: the first loss term of a run, and the weights of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["first_loss", "is_marked", "not_finite"]

MOST = 20


def first_loss(losses: Mapping[str, Sequence[float]], step: int) -> tuple[int, list[str]] | None:
    """The first step (from 1) with a loss term that is not finite, and those terms; None where all are.

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
    """Whether a checkpoint's weights are not finite: by its mark; files without one are looked through."""
    meta = checkpoint.get("meta")
    marked = meta.get("not_finite") if isinstance(meta, Mapping) else None
    return bool(not_finite(checkpoint) if marked is None else marked)


def not_finite(checkpoint: Mapping[str, Any]) -> list[str]:
    """Names of weights, averaged or raw, that hold NaN or infinity; at most the first few, in one pass over all.

    Minus infinity alone is a mask and no fault.

    >>> not_finite({"state_dict": {"weight": torch.tensor([1.0, math.nan]), "mask": torch.tensor([-math.inf])}})
    ['weight']
    """
    tensors = {id(tensor): (name, tensor) for name, tensor in _floats(checkpoint)}
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
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.layout == torch.strided:
                yield str(name), tensor.detach()


def _sum(tensor: Tensor) -> Tensor:
    """The sum, which is finite only where every element is: the quickest pass over them all."""
    wide = tensor.dtype in (torch.float32, torch.float64)
    return (tensor.sum() if wide else tensor.to(torch.float32).sum()).to(torch.float32)


def _is_spoilt(tensor: Tensor) -> bool:
    wide = tensor if tensor.element_size() > 1 else tensor.to(torch.float32)
    return bool(torch.isnan(wide).any() or (wide == math.inf).any())
