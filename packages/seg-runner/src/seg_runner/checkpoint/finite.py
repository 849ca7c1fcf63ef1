"""What is not finite: the first loss term of a run, the weights of a checkpoint, the state of its optimizer."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from seg_runner.evaluation.fields import sample_field
from seg_runner.log.history import HistoryBuffer

__all__ = ["LogitsWatch", "LossWatch", "mark", "not_finite", "optimizer_not_finite"]

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
        """Return the step (from 1) and its loss terms that are not finite, once; None where all are, or it was told.

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

    def warn(self, histories: Mapping[str, HistoryBuffer], step: int, logger: logging.Logger) -> None:
        """Warn once, of the first loss that is not finite; the log point has just brought the values over."""
        found = self.first(histories, step)
        if found is not None:
            logger.warning(
                "iteration %d: %s is not finite, for the first time. Training goes on; a checkpoint with weights that "
                "are not finite is marked. NanGuardHook stops at such a step and says which samples were in it.",
                found[0],
                ", ".join(found[1]),
            )


class LogitsWatch:
    """Counts the images of a validation whose `seg_logits` are not finite; nothing waits for the device before `told`.

    Minus infinity alone is a class that is never taken, and no fault.

    Example:
        >>> watch = LogitsWatch()
        >>> for value in (1.0, math.nan, math.inf, -math.inf):
        ...     watch.add([{"seg_logits": {"data": torch.tensor([1.0, value]).view(2, 1, 1)}}])
        >>> watch.told("validation")
        'validation: the logits of 2 of 4 images are not finite, and they count all the same'
    """

    def __init__(self) -> None:
        self._bad: dict[torch.device, torch.Tensor] = {}
        self._count = 0

    def add(self, samples: Iterable[Any]) -> None:
        """Look at the samples of a batch; those without logits are none."""
        for sample in samples:
            field = sample_field(sample, "seg_logits", None)
            logits = field.get("data") if isinstance(field, Mapping) else getattr(field, "data", None)
            if isinstance(logits, torch.Tensor) and logits.is_floating_point() and logits.numel():
                bad = torch.isfinite(logits.detach().amax()).logical_not()
                known = self._bad.get(logits.device)
                self._bad[logits.device] = bad.long() if known is None else known + bad
                self._count += 1

    def told(self, what: str) -> str | None:
        """Return one line; None where all are finite."""
        bad = sum(int(count) for count in self._bad.values())
        if not bad:
            return None
        return f"{what}: the logits of {bad} of {self._count} images are not finite, and they count all the same"


def _first(values: np.ndarray[Any, Any]) -> int | None:
    """Return how many steps before the last the first value stands that is not finite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return int(len(values) - 1 - bad[0]) if len(bad) else None


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
