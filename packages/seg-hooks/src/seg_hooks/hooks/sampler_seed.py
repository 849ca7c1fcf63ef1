"""DistSamplerSeedHook: tells samplers which epoch it is, so that each has its own order."""

from __future__ import annotations

from typing import Protocol

from seg_hooks.hook import Hook
from seg_hooks.loaders import set_epoch
from seg_hooks.protocols import Data, Progress

__all__ = ["DistSamplerSeedHook"]


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
