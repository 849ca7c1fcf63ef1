"""What is not finite in a checkpoint: weights, and the state of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["mark", "not_finite", "optimizer_not_finite"]

MOST = 20
"""So many names of tensors a mark holds; the rest of a spoilt model adds nothing."""
SMALL, ROW = 2**10, 2**10  # numbers of a small tensor, and how many such are summed together


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
    if _sums_are_finite(tensor for _, tensor in tensors.values()):
        return []
    names = (name for name, tensor in tensors.values() if _is_spoilt(tensor))
    return [name for name, _ in zip(names, range(MOST), strict=False)]


def _sums_are_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Tell whether each sum is finite; many small tensors are laid in one row first, which is summed at once."""
    sums: dict[torch.device, list[torch.Tensor]] = {}
    small: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        if tensor.numel() <= SMALL:
            small.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        else:
            sums.setdefault(tensor.device, []).append(_sum(tensor))
    for (device, _), alike in small.items():
        rows = (alike[start : start + ROW] for start in range(0, len(alike), ROW))
        sums.setdefault(device, []).extend(_sum(_in_a_row(row)) for row in rows)
    return all(math.isfinite(one) for each in sums.values() for one in torch.stack(each).tolist())


def _in_a_row(tensors: list[torch.Tensor]) -> torch.Tensor:
    flat: torch.Tensor = torch._utils._flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
    return flat


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
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.layout is torch.strided


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum, which is finite only where every element is: the quickest pass over them all."""
    if tensor.dtype is torch.float32:
        return tensor.sum()
    return (tensor.sum() if tensor.dtype is torch.float64 else tensor.to(torch.float32).sum()).to(torch.float32)


def _is_spoilt(tensor: torch.Tensor) -> bool:
    wide = tensor if tensor.element_size() > 1 else tensor.to(torch.float32)
    return bool(torch.isnan(wide).any() or (wide == math.inf).any())
