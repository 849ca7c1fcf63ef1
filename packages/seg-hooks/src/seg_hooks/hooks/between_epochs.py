"""Hooks that act between epochs: memory given back, buffers made equal on all processes, samplers told the epoch."""

from __future__ import annotations

from typing import Protocol

from torch import distributed, nn

from seg_hooks.checks import flag
from seg_hooks.device import empty_cache
from seg_hooks.hook import Hook
from seg_hooks.loaders import set_epoch
from seg_hooks.processes.world import is_distributed
from seg_hooks.protocols import Data, HasModel, Progress

__all__ = ["DistSamplerSeedHook", "EmptyCacheHook", "SyncBuffersHook"]


class EmptyCacheHook(Hook[object]):
    """Gives the accelerator's unused cached memory back, in training, validation and test.

    Args:
        before_epoch: Do it before each epoch.
        after_epoch: Do it after each epoch.
        after_iter: Do it after each iteration; slow.
    """

    def __init__(self, before_epoch: bool = False, after_epoch: bool = True, after_iter: bool = False) -> None:
        self.do_before_epoch = flag("EmptyCacheHook", "before_epoch", before_epoch)
        self.do_after_epoch = flag("EmptyCacheHook", "after_epoch", after_epoch)
        self.do_after_iter = flag("EmptyCacheHook", "after_iter", after_iter)

    def _before_epoch(self, runner: object, mode: str = "train") -> None:
        if self.do_before_epoch:
            empty_cache()

    def _after_epoch(self, runner: object, mode: str = "train") -> None:
        if self.do_after_epoch:
            empty_cache()

    def _after_iter(
        self, runner: object, batch_idx: int, data_batch: object = None, outputs: object = None, mode: str = "train"
    ) -> None:
        if self.do_after_iter:
            empty_cache()


class SyncBuffersHook(Hook[HasModel]):
    """Averages the model's floating-point buffers over all processes after each epoch and before validation.

    Whole-number buffers are taken from rank 0. Without distributed training nothing is done.
    """

    def __init__(self) -> None:
        self._fresh = False

    def before_train_epoch(self, runner: HasModel) -> None:
        """Note that what follows changes the buffers."""
        self._fresh = False

    def after_train_epoch(self, runner: HasModel) -> None:
        """Make them equal."""
        sync_buffers(runner.model)
        self._fresh = True

    def before_val_epoch(self, runner: HasModel) -> None:
        """Make them equal, unless they are already."""
        if not self._fresh:
            sync_buffers(runner.model)
        self._fresh = False


def sync_buffers(model: nn.Module) -> None:
    """Set every floating-point buffer to its mean over the processes, others to the value of rank 0."""
    if not is_distributed():
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            distributed.all_reduce(buffer)
            buffer.div_(distributed.get_world_size())
        else:
            distributed.broadcast(buffer, src=0)


class _Runner(Data, Progress, Protocol):
    pass


class DistSamplerSeedHook(Hook[_Runner]):
    """Calls `set_epoch` of the training loader's sampler, or of its batch sampler's sampler, where there is one.

    Only the epoch is set; the position within the order of data belongs to the runner. Works without distributed
    training too.
    """

    def before_train_epoch(self, runner: _Runner) -> None:
        """Set the epoch."""
        set_epoch(runner.train_dataloader, runner.epoch)
