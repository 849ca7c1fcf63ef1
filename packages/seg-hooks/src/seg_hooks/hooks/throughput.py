"""ThroughputHook: images per second, the share of time spent waiting for data, and memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sized
from typing import Any, Protocol

import torch

from seg_hooks.checks import whole
from seg_hooks.device import peak_memory
from seg_hooks.hook import Hook
from seg_hooks.protocols import Logs

__all__ = ["ThroughputHook"]


class _Runner(Logs, Protocol):
    pass


class ThroughputHook(Hook[_Runner]):
    """Logs `images_per_s`, `data_share` (0 to 1) and, on a GPU, `memory_mb` (peak), over windows of `interval` steps.

    Validation and saving fall between windows. Nothing waits for the device: over a window the host goes as fast as
    the device does. `memory_mb` leaves the peak counters as they are.

    Args:
        interval: Steps of a window.
    """

    priority = "ABOVE_NORMAL"

    def __init__(self, interval: int = 10) -> None:
        self.interval = whole("ThroughputHook", "interval", interval, least=1)
        self._ended: float | None = None
        self._began = self._waited = 0.0
        self._images = self._steps = 0

    def before_train(self, runner: _Runner) -> None:
        """Begin anew."""
        self._restart()

    def before_train_iter(self, runner: _Runner, batch_idx: int, data_batch: object = None) -> None:
        """The data are there."""
        now = time.perf_counter()
        if self._ended is None:
            self._began = self._ended = now
        self._waited += now - self._ended

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the images; at the end of a window store its figures."""
        self._images += count_images(data_batch)
        self._steps += 1
        self._ended = time.perf_counter()
        if self._steps < self.interval:
            return
        spent = max(self._ended - self._began, 1e-9)
        figures = {"train/images_per_s": self._images / spent, "train/data_share": self._waited / spent}
        memory = peak_memory()
        if memory is not None:
            figures["train/memory_mb"] = memory
        runner.message_hub.update_scalars(figures)
        self._restart(self._ended)

    def before_save_checkpoint(self, runner: _Runner, checkpoint: dict[str, Any]) -> None:
        """Leave the saving out."""
        self._restart()

    def after_val(self, runner: _Runner) -> None:
        """Leave the validation out."""
        self._restart()

    def _restart(self, now: float | None = None) -> None:
        self._ended = now
        self._began = now or 0.0
        self._waited = 0.0
        self._images = self._steps = 0


def count_images(batch: object) -> int:
    """How many images a batch holds, from its shape; 0 where it cannot be told.

    Example:
        >>> count_images({"inputs": [1, 2, 3], "data_samples": []}), count_images((torch.zeros(4, 3, 8, 8), None))
        (3, 4)
    """
    if isinstance(batch, Mapping):
        first = batch.get("inputs", next(iter(batch.values()), None))
        return len(first) if isinstance(first, Sized) else 0
    if isinstance(batch, tuple | list) and batch:
        inner = batch[0]
        if isinstance(inner, torch.Tensor) and inner.dim() > 3:
            return len(inner)
        return len(inner) if isinstance(inner, tuple | list) else len(batch)
    return len(batch) if isinstance(batch, torch.Tensor) and batch.dim() else 0
