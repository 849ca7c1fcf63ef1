"""What the losses share: names, weights, class weights, one map per class, and refusals in words."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seg_runner.checks import number, one_of
from seg_runner.names import printable
from torch import Tensor, nn

from seg_engine.data.pipeline import reads_file

__all__ = ["NamedLoss", "as_floats", "check_labels", "class_maps", "reduce"]

REDUCTIONS = ("mean", "sum", "none")
LARGEST_FILE = 1 << 20
MOST, SMALLEST = 1e15, 1e-30
"""Of weights: the square of a larger gradient overflows 32 bits, where optimizers keep it."""


class NamedLoss(nn.Module, ABC):
    """A loss with a weight and the name that it has in the log; called as MMSegmentation calls its losses.

    Args:
        loss_weight: Factor on the loss; 0 switches it off.
        loss_name: Its name in the log; only what has 'loss' in its name is trained on.
        reduction: 'mean', 'sum' or 'none'.
        class_weight: One factor per class, or the path of a `.json` or `.npy` file that holds them.

    Raises:
        TypeError: An option that is of another kind.
        ValueError: A number that cannot be meant.
    """

    class_weight: Tensor | None
    softmax_of_channels = False
    """Whether the loss compares channels with one another, which takes at least two."""
    takes_pixel_weights = False
    """Whether `weight` may be one number per pixel."""

    def __init__(
        self,
        loss_weight: float,
        loss_name: str,
        reduction: str = "mean",
        class_weight: Sequence[float] | str | None = None,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        self.loss_weight = _weight(loss_weight, f"{kind}: loss_weight")
        if not isinstance(loss_name, str) or not loss_name:
            raise TypeError(f"{kind}: loss_name must be a text, not {loss_name!r}")
        self.loss_name, self.reduction = loss_name, one_of(reduction, f"{kind}: reduction", REDUCTIONS)
        self._file: Path | None = None
        if isinstance(class_weight, str | Path):
            self._file = Path(class_weight)
            # A trained model is also used where this file is not; it is missed when the loss is computed.
            class_weight = _read_weights(self._file, kind)
            self._file = None if class_weight is not None else self._file
        self.class_weights = _checked_weights(class_weight, kind)
        weights = None if self.class_weights is None else torch.tensor(self.class_weights, dtype=torch.float32)
        self.register_buffer("class_weight", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, ignore_index: int = 255) -> Tensor:
        """Return the weighted loss of logits N x C x H x W and labels N x H x W."""
        if self._file is not None:
            raise FileNotFoundError(
                f"{type(self).__name__}: class_weight={str(self._file)!r}: there is no such file, or it was left out, "
                "as the model was built to predict"
            )
        self.check_channels(logits.shape[1])
        if not self.loss_weight:
            return (logits * 0).sum()
        return self.loss_weight * self.value(logits, labels, weight, ignore_index)

    def check_channels(self, channels: int) -> None:
        """Refuse a number of output channels that the loss cannot be meant for.

        Raises:
            ValueError: One channel where channels are compared, or another number of class weights.
        """
        kind, weights = type(self).__name__, self.class_weight
        if channels == 1 and self.softmax_of_channels:
            raise ValueError(
                f"{kind} compares channels by softmax, and the head gives one channel, for which softmax is always 1: "
                f"set num_classes=2, out_channels=1 and {self.for_one_channel()} to tell foreground from background, "
                "or num_classes=2 without out_channels for softmax"
            )
        if weights is not None and len(weights) != channels:
            one = " (the weight of the foreground; that of the background is 1)" if channels == 1 else ""
            raise ValueError(
                f"{kind}: class_weight has {len(weights)} number{'s' * (len(weights) > 1)}, and the head gives "
                f"{channels} channel{'s' * (channels > 1)}: give one number for each{one}"
            )

    def for_one_channel(self) -> str:
        """Say what to set for a head of one channel."""
        return "loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)"

    @property
    def divides_by(self) -> Any:
        """Return what the mean divides by, if that depends on the labels: equal for losses that divide alike."""
        return None

    @abstractmethod
    def value(self, logits: Tensor, labels: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
        """Return the loss without its weight."""


def _weight(value: object, name: str) -> float:
    """Return a weight that 32 bits have room for, with its gradients and their squares."""
    weight = number(value, name, least=0)
    if weight and not SMALLEST <= weight <= MOST:
        raise ValueError(f"{name} must be 0 or from {SMALLEST:g} to {MOST:g}, not {value!r}: 32 bits hold no others")
    return weight


def _read_weights(path: Path, kind: str) -> Any:
    """Return numbers of a file, None where it is not there or not to be read; nothing in it is run."""
    where = f"{kind}: class_weight={printable(repr(str(path)), lines=False)}"
    if not reads_file(where) or not os.path.exists(path):
        return None
    if path.suffix not in (".json", ".npy"):
        raise ValueError(f"{where}: a .json or .npy file is expected; nothing else is read, as it might run code")
    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{where}: a file is expected, and this is a folder, a pipe or a device")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{where}: the file is too large to hold one number per class")
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False).tolist()
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: the file cannot be read as a list of numbers") from error


def _checked_weights(class_weight: object, kind: str) -> tuple[float, ...] | None:
    if class_weight is None:
        return None
    listed = class_weight.tolist() if isinstance(class_weight, Tensor | np.ndarray) else class_weight
    listed = [listed] if isinstance(listed, Real) else listed
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise TypeError(f"{kind}: class_weight must be a list of one number per class, not {class_weight!r}")
    weights = tuple(_weight(one, f"{kind}: each number of class_weight") for one in listed)
    if not any(weights):
        raise ValueError(f"{kind}: class_weight is 0 for every class: nothing would be trained")
    return weights


def as_floats(logits: Tensor) -> Tensor:
    """Return logits in 32 bits at least: sums over pixels run over in 16."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def class_maps(labels: Tensor, channels: int, counted: Tensor, like: Tensor) -> Tensor:
    """Return N x H x W labels as N x C x H x W zeros and ones; one channel has ones at the pixels of label 1."""
    if channels == 1:
        return ((labels == 1) & counted)[:, None].to(like.dtype)
    safe = torch.where(counted, labels, 0)
    maps = torch.zeros(len(labels), channels, *labels.shape[1:], dtype=like.dtype, device=like.device)
    return maps.scatter_(1, safe[:, None], counted[:, None].to(like.dtype))


def check_labels(labels: Tensor, counted: Tensor, channels: int) -> None:
    """Refuse labels beyond the classes on the CPU; elsewhere looking would wait for the device.

    Raises:
        IndexError: There is one.
    """
    if labels.device.type != "cpu" or not labels.numel():
        return
    least, most = map(int, torch.aminmax(torch.where(counted, labels, 0)))
    if least < 0 or most >= max(channels, 2):
        meant = "labels 0 and 1" if channels == 1 else f"{channels} classes, from 0 on"
        raise IndexError(f"the label maps hold labels {least} to {most}; the head gives {meant}")


def reduce(each: Tensor, divisor: Tensor | int, reduction: str) -> Tensor:
    """Return the losses of all pixels or images as the reduction says; the mean is their sum over `divisor`."""
    if reduction == "none":
        return each
    return each.sum() if reduction == "sum" else each.sum() / divisor
