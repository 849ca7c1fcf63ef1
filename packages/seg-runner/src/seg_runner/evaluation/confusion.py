"""Exact confusion counts: which label met which prediction how often, in int64, on the CPU or the tensors' device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Confusion", "confusion_of"]

Counts = npt.NDArray[np.int64]

BYTE = 256
CHUNK = 1 << 18
"""So many pixels at a time: their keys (2 MB) stay in the cache."""


class Confusion:
    """Counts of (label, prediction) pairs over any number of images, in memory that does not grow.

    Rows are labels, columns predictions; the last row and column hold everything that is no class. Pixels whose
    label is `ignore_index` are left out. Tensors on an accelerator are counted there and not waited for; the counts
    come over when `matrix()` is read.

    Args:
        num_classes: how many classes there are.
        ignore_index: the label of pixels that do not count; None counts all.

    Example:
        >>> counts = Confusion(num_classes=2, ignore_index=255)
        >>> counts.add(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]))
        >>> counts.matrix()
        array([[1, 1, 0],
               [0, 1, 0],
               [0, 0, 0]])
    """

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {num_classes}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._pairs: Counts | None = None
        self._keys: npt.NDArray[np.intp] = np.empty(0, np.intp)
        self._sum = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self._on_device: dict[torch.device, torch.Tensor] = {}

    def add(self, prediction: torch.Tensor, label: torch.Tensor) -> None:
        """Count one image, or several; both of the same number of pixels, of any integer type.

        Raises:
            TypeError: if they are no integers.
            ValueError: if they differ in size.
        """
        _check(prediction, label)
        prediction, label = _as_integers(prediction), _as_integers(label)
        if prediction.device.type != "cpu":
            self._add_on_device(prediction, label.to(prediction.device, non_blocking=True))
            return
        pred, true = prediction.numpy().reshape(-1), label.cpu().numpy().reshape(-1)
        for start in range(0, pred.size, CHUNK):
            self._add_chunk(pred[start : start + CHUNK], true[start : start + CHUNK])

    def matrix(self) -> Counts:
        """Return the counts so far, (classes + 1) x (classes + 1)."""
        total = self._sum.copy()
        if self._pairs is not None:
            total += _fold(self._pairs.reshape(BYTE, BYTE), self.num_classes, self.ignore_index)
        for counts in self._on_device.values():
            total += _fold(counts.view(self.num_classes + 2, -1).cpu().numpy(), self.num_classes, self.num_classes + 1)
        return total

    def _add_chunk(self, pred: npt.NDArray[Any], true: npt.NDArray[Any]) -> None:
        """Count some pixels. Each array is looked through right before it is used: so it is read from memory once."""
        if self.num_classes <= BYTE and _fits_a_byte(true):
            if self._pairs is None:
                self._pairs, self._keys = np.zeros(BYTE * BYTE, np.int64), np.empty(CHUNK, np.intp)
            keys = np.multiply(true, BYTE, out=self._keys[: true.size], casting="unsafe", dtype=np.intp)
            if _fits_a_byte(pred):
                np.add(keys, pred, out=keys, casting="unsafe")
                np.add(self._pairs, np.bincount(keys, minlength=BYTE * BYTE), out=self._pairs)
                return
        self._sum += confusion_of(pred, true, self.num_classes, self.ignore_index)

    def _add_on_device(self, prediction: torch.Tensor, label: torch.Tensor) -> None:
        """Count without a wait: out-of-range labels go to slot `classes`, ignored ones to the slot after it."""
        other = self.num_classes
        pred, true = prediction.reshape(-1).long(), label.reshape(-1).long()
        slot = torch.where((true < 0) | (true >= other), other, true)
        if self.ignore_index is not None:
            slot = torch.where(true == self.ignore_index, other + 1, slot)
        keys = slot * (other + 2) + torch.where((pred < 0) | (pred >= other), other, pred)
        counts = self._on_device.get(pred.device)
        if counts is None:
            counts = self._on_device[pred.device] = torch.zeros((other + 2) ** 2, dtype=torch.int64, device=pred.device)
        counts.scatter_add_(0, keys, torch.ones_like(keys))


def confusion_of(pred: npt.NDArray[Any], true: npt.NDArray[Any], num_classes: int, ignore_index: int | None) -> Counts:
    """Return the (classes + 1) x (classes + 1) counts of two flat arrays of any integers."""
    if ignore_index is not None:
        counted = true != ignore_index
        pred, true = pred[counted], true[counted]
    rows = np.where((true < 0) | (true >= num_classes), num_classes, true).astype(np.intp)
    columns = np.where((pred < 0) | (pred >= num_classes), num_classes, pred).astype(np.intp)
    size = num_classes + 1
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


def _fits_a_byte(values: npt.NDArray[Any]) -> bool:
    """Tell whether all values lie in 0 ... 255: with negative numbers the top bit of the union is set."""
    return values.dtype == np.uint8 or not int(np.bitwise_or.reduce(values)) & ~0xFF


def _fold(pairs: Counts, num_classes: int, ignore_row: int | None) -> Counts:
    """Merge all rows and columns from `num_classes` on into one each, leaving the ignored row out."""
    pairs = pairs.copy()
    if ignore_row is not None and 0 <= ignore_row < len(pairs):
        pairs[ignore_row] = 0
    size = num_classes + 1
    rows = np.vstack([pairs[:num_classes], pairs[num_classes:].sum(0)])
    return np.hstack([rows[:, :num_classes], rows[:, num_classes:].sum(1, keepdims=True)]).reshape(size, size)


def _as_integers(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of integers, also of one that holds True and False."""
    return tensor.to(torch.uint8) if tensor.dtype is torch.bool else tensor


def _check(prediction: torch.Tensor, label: torch.Tensor) -> None:
    """Refuse what cannot be counted."""
    for name, tensor in (("prediction", prediction), ("label", label)):
        if tensor.is_floating_point() or tensor.is_complex():
            raise TypeError(f"the {name} holds {tensor.dtype}: class indices (integers) are expected")
    if prediction.numel() != label.numel():
        raise ValueError(f"the prediction has shape {tuple(prediction.shape)}, its label {tuple(label.shape)}")
