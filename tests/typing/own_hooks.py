"""Read by the type checker only: hooks as their authors write them, in strict mypy."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from seg_hooks import EMAHook, Hook, TrainState
from seg_hooks.protocols import Logs, Progress
from seg_runner import Runner


class AnyRunner(Hook):
    """Says nothing of the runner."""

    def before_train(self, runner: Any) -> None:
        """Read what no facet names."""
        print(runner.max_iters)


class ForRunner(Hook):
    """Names the class of its runner, and what a batch is, in its methods alone."""

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, torch.Tensor] | None = None,
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Use a helper of the base class."""
        if self.every_n_train_iters(runner, 10):
            print(runner.iter)


class Needed(Progress, Logs, Protocol):
    """The facets that `ForBoth` takes."""


class ForBoth(Hook[Needed]):
    """Is held to the facets that it names, in all of its methods."""

    def after_train(self, runner: Needed) -> None:
        """Use two facets."""
        runner.logger.info("%d", runner.iter)


class OfOurs(EMAHook):
    """Adds to a hook of this package."""

    def before_train(self, runner: Any) -> None:
        """Go on with what it does."""
        super().before_train(runner)


def taken_by_both(runner: Runner, state: TrainState) -> None:
    """Show a hook of facets to both."""
    ForBoth().after_train(runner)
    ForBoth().after_train(state)


def a_batch_keeps_its_type(state: TrainState, loader: list[torch.Tensor]) -> None:
    """Take from `batches` what the loader gives."""
    for batch in state.batches(loader):
        state.after_step(loss=batch.sum())
