"""IterTimerHook and ThroughputHook: how long steps and data take, images a second, and what is still to come."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sized
from typing import Any, Protocol

import torch

from seg_hooks.checks import whole
from seg_hooks.device import peak_memory
from seg_hooks.hook import Hook
from seg_hooks.loaders import length_of
from seg_hooks.processes.world import size
from seg_hooks.protocols import Data, Logs, Progress

__all__ = ["IterTimerHook", "ThroughputHook"]


class _Runner(Progress, Logs, Data, Protocol):
    pass


class IterTimerHook(Hook[_Runner]):
    """Records `{mode}/data_time`, `{mode}/time` (seconds, without waiting for the device) and `eta` (seconds).

    Validation is not charged to training, nor is the writing of checkpoints by CheckpointHook, which reports its
    length as the info `pause`. The ETA comes from this session's steps alone, so it is right after a resume.
    """

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._spent = 0.0
        self._steps = 0
        self._saved = False

    def before_train(self, runner: _Runner) -> None:
        """Start the session's clock."""
        self._spent, self._steps, self._saved = 0.0, 0, False

    def before_train_epoch(self, runner: _Runner) -> None:
        """Start timing."""
        self._last = time.perf_counter()

    def before_train_iter(self, runner: _Runner, batch_idx: int, data_batch: object = None) -> None:
        """Store the wait for data."""
        if self._saved:
            self._saved = False
            self._last += runner.message_hub.pop_info("pause", 0.0)
        runner.message_hub.update_scalar("train/data_time", time.perf_counter() - self._last)

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Store the step's time and the ETA."""
        now = time.perf_counter()
        taken, self._last = now - self._last, now
        self._spent += taken
        self._steps += 1
        hub = runner.message_hub
        hub.update_scalar("train/time", taken)
        hub.update_info("eta", self._spent / self._steps * (runner.max_iters - runner.iter - 1))

    def before_save_checkpoint(self, runner: _Runner, checkpoint: dict[str, Any]) -> None:
        """Remember that the next step has a pause to leave out."""
        self._saved = True

    def before_val_epoch(self, runner: _Runner) -> None:
        """Start timing."""
        self._begin_pass(runner.val_dataloader)

    def before_test_epoch(self, runner: _Runner) -> None:
        """Start timing."""
        self._begin_pass(runner.test_dataloader)

    def before_val_iter(self, runner: _Runner, batch_idx: int, data_batch: object = None) -> None:
        """Store the wait for data."""
        runner.message_hub.update_scalar("val/data_time", time.perf_counter() - self._pass_last)

    def before_test_iter(self, runner: _Runner, batch_idx: int, data_batch: object = None) -> None:
        """Store the wait for data."""
        runner.message_hub.update_scalar("test/data_time", time.perf_counter() - self._pass_last)

    def after_val_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Store the batch's time and the ETA of the pass."""
        self._tick(runner, batch_idx, "val")

    def after_test_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Store the batch's time and the ETA of the pass."""
        self._tick(runner, batch_idx, "test")

    def after_val(self, runner: _Runner) -> None:
        """Go on timing the training from here; what was written before is over."""
        self._saved = False
        runner.message_hub.pop_info("pause", 0.0)
        self._last = time.perf_counter()

    def _begin_pass(self, loader: object) -> None:
        self._pass_began = self._pass_last = time.perf_counter()
        self._pass_length = length_of(loader) or 0

    def _tick(self, runner: _Runner, batch_idx: int, mode: str) -> None:
        now = time.perf_counter()
        runner.message_hub.update_scalar(f"{mode}/time", now - self._pass_last)
        self._pass_last = now
        left = max(0, self._pass_length - batch_idx - 1)
        runner.message_hub.update_info("eta", (now - self._pass_began) / (batch_idx + 1) * left)


class ThroughputHook(Hook[Logs]):
    """Logs `images_per_s`, `data_share` (0 to 1) and, on a GPU, `memory_mb` (peak), over windows of `interval` steps.

    The images are those of all ranks, where there are several. Validation and saving fall between windows. Nothing
    waits for the device: over a window the host goes as fast as the device does. `memory_mb` leaves the peak counters
    as they are.

    Args:
        interval: Steps of a window.
    """

    priority = "ABOVE_NORMAL"

    def __init__(self, interval: int = 10) -> None:
        self.interval = whole("ThroughputHook", "interval", interval, least=1)
        self._ended: float | None = None
        self._began = self._waited = 0.0
        self._images = self._steps = 0

    def before_train(self, runner: Logs) -> None:
        """Start the first window."""
        self._restart()

    def before_train_iter(self, runner: Logs, batch_idx: int, data_batch: object = None) -> None:
        """Add the wait for data, now that they are there."""
        now = time.perf_counter()
        if self._ended is None:
            self._began = self._ended = now
        self._waited += now - self._ended

    def after_train_iter(
        self, runner: Logs, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the images; at the end of a window store its figures."""
        self._images += count_images(data_batch)
        self._steps += 1
        self._ended = time.perf_counter()
        if self._steps < self.interval:
            return
        spent = max(self._ended - self._began, 1e-9)
        images = self._images * size()
        figures = {"train/images_per_s": images / spent, "train/data_share": self._waited / spent}
        memory = peak_memory()
        if memory is not None:
            figures["train/memory_mb"] = memory
        runner.message_hub.update_scalars(figures)
        self._restart(self._ended)

    def before_save_checkpoint(self, runner: Logs, checkpoint: dict[str, Any]) -> None:
        """Leave the saving out."""
        self._restart()

    def after_val(self, runner: Logs) -> None:
        """Leave the validation out."""
        self._restart()

    def _restart(self, now: float | None = None) -> None:
        self._ended = now
        self._began = now or 0.0
        self._waited = 0.0
        self._images = self._steps = 0


def count_images(batch: object) -> int:
    """Count the images of a batch, from its shape; 0 where it cannot be told.

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
