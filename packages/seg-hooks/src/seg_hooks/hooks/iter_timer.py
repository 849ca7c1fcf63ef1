"""IterTimerHook: how long data and steps take, and how long the run still needs."""

from __future__ import annotations

import time
from typing import Any, Protocol

from seg_hooks.hook import Hook
from seg_hooks.loaders import length_of
from seg_hooks.protocols import Data, Logs, Progress

__all__ = ["IterTimerHook"]


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
        """The wait for data."""
        if self._saved:
            self._saved = False
            self._last += runner.message_hub.pop_info("pause", 0.0)
        runner.message_hub.update_scalar("train/data_time", time.perf_counter() - self._last)

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """The step's time and the ETA."""
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
        """The wait for data."""
        runner.message_hub.update_scalar("val/data_time", time.perf_counter() - self._pass_last)

    def before_test_iter(self, runner: _Runner, batch_idx: int, data_batch: object = None) -> None:
        """The wait for data."""
        runner.message_hub.update_scalar("test/data_time", time.perf_counter() - self._pass_last)

    def after_val_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """The batch's time and the ETA of the pass."""
        self._tick(runner, batch_idx, "val")

    def after_test_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """The batch's time and the ETA of the pass."""
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
