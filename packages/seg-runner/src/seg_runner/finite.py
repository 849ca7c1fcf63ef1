"""What is not finite: the first loss term of a run, and the weights of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from seg_runner.history import HistoryBuffer

__all__ = ["LossWatch", "mark", "not_finite"]

MOST = 20
"""So many names of tensors a mark holds; the rest of a spoilt model adds nothing."""


class LossWatch:
    """Finds the first step whose loss was not finite, in histories that are read at a log point anyway.

    Example:
        >>> watch, loss = LossWatch(), HistoryBuffer([1.0, float("nan"), float("nan")])
        >>> watch.first({"train/loss": loss, "train/lr": HistoryBuffer([0.1])}, step=3)
        (2, ['loss'])
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._told = False

    def first(self, histories: Mapping[str, HistoryBuffer], step: int) -> tuple[int, list[str]] | None:
        """The step (from 1) and its loss terms that are not finite, once; None where all are, or it was told.

        Args:
            histories: All scalars by name; those of `train/` with `loss` in their names are looked at.
            step: The step that has just been made.
        """
        if self._told:
            return None
        found: dict[int, list[str]] = {}
        for name, history in histories.items():
            if name.startswith("train/") and "loss" in name:
                new = history.updates - self._seen.get(name, history.loaded)
                self._seen[name] = history.updates
                if new > 0 and not math.isfinite(history.totals[1]):
                    back = _first(history.data[0][-new:])
                    if back is not None:
                        found.setdefault(step - back, []).append(name.removeprefix("train/"))
        self._told = bool(found)
        return min(found.items()) if found else None


def _first(values: np.ndarray[Any, Any]) -> int | None:
    """How many steps before the last the first value that is not finite stands."""
    bad = np.flatnonzero(~np.isfinite(values))
    return int(len(values) - 1 - bad[0]) if len(bad) else None


def mark(payload: dict[str, Any]) -> None:
    """Write into `meta` of a checkpoint which weights are not finite, as `not_finite`; nothing where all are."""
    meta, bad = payload.get("meta"), not_finite(payload)
    if bad and isinstance(meta, dict):
        payload["meta"] = {**meta, "not_finite": bad}


def not_finite(checkpoint: Mapping[str, Any]) -> list[str]:
    """Names of weights, averaged or raw, that hold NaN or infinity; at most the first few of them.

    Minus infinity alone is a mask and no fault.

    >>> not_finite({"state_dict": {"weight": torch.tensor([1.0, float("nan")]), "mask": torch.tensor([-math.inf])}})
    ['weight']
    """
    tensors = {id(tensor): (name, tensor) for name, tensor in _floats(checkpoint)}
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
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.layout == torch.strided:
                yield str(name), tensor


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    """The sum, which is finite only where every element is: the quickest pass over them all."""
    wide = tensor.dtype in (torch.float32, torch.float64)
    return (tensor.sum() if wide else tensor.to(torch.float32).sum()).to(torch.float32)


def _is_spoilt(tensor: torch.Tensor) -> bool:
    wide = tensor if tensor.element_size() > 1 else tensor.to(torch.float32)
    return bool(torch.isnan(wide).any() or (wide == math.inf).any())
