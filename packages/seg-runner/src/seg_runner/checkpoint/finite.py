"""What is not finite in a checkpoint: weights, and the state of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["mark", "not_finite", "optimizer_not_finite"]

MOST = 20
"""So many names of tensors a mark holds; the rest of a spoilt model adds nothing."""


def mark(payload: dict[str, Any]) -> None:
    """Write into `meta` of a checkpoint which weights, and which of the optimizer's, are not finite.

    As `not_finite` and `optimizer_not_finite`; nothing where all are. Only the first is a reason to resume elsewhere.
    """
    found = {"not_finite": not_finite(payload), "optimizer_not_finite": optimizer_not_finite(payload)}
    bad = {name: names for name, names in found.items() if names}
    if bad and isinstance(payload.get("meta"), dict):
        payload["meta"] = {**payload["meta"], **bad}


def not_finite(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return names of weights, averaged or raw, that hold NaN or infinity; at most the first few of them.

    Minus infinity alone is a mask and no fault.

    >>> not_finite({"state_dict": {"weight": torch.tensor([1.0, float("nan")]), "mask": torch.tensor([-math.inf])}})
    ['weight']
    """
    return _spoilt(_floats(checkpoint))


def optimizer_not_finite(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the same of the optimizer's state, where an infinite `exp_avg_sq` ends its learning.

    >>> optimizer_not_finite({"optimizer": {"state": {3: {"exp_avg_sq": torch.tensor([math.inf])}}}})
    ['exp_avg_sq of parameter 3']
    """
    return _spoilt(_kept(checkpoint.get("optimizer"), ""))


def _spoilt(found: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """Return the names of tensors that are not finite: one pass over all, a second one only where there are some."""
    tensors = {id(tensor): (name, tensor) for name, tensor in found}
    sums: dict[torch.device, list[torch.Tensor]] = {}
    for _, tensor in tensors.values():
        sums.setdefault(tensor.device, []).append(_sum(tensor))
    if all(bool(torch.isfinite(torch.stack(row)).all()) for row in sums.values()):
        return []
    names = (name for name, tensor in tensors.values() if _is_spoilt(tensor))
    return [name for name, _ in zip(names, range(MOST), strict=False)]


def _floats(checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    for key in ("state_dict", "ema_state_dict"):
        weights = checkpoint.get(key)
        items: Iterable[tuple[Any, Any]] = weights.items() if isinstance(weights, Mapping) else ()
        for name, tensor in items:
            if _is_float(tensor):
                yield str(name), tensor


def _kept(optimizer: object, place: str) -> Iterator[tuple[str, torch.Tensor]]:
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


def _is_float(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.layout == torch.strided


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum, which is finite only where every element is: the quickest pass over them all."""
    wide = tensor.dtype in (torch.float32, torch.float64)
    return (tensor.sum() if wide else tensor.to(torch.float32).sum()).to(torch.float32)


def _is_spoilt(tensor: torch.Tensor) -> bool:
    wide = tensor if tensor.element_size() > 1 else tensor.to(torch.float32)
    return bool(torch.isnan(wide).any() or (wide == math.inf).any())
