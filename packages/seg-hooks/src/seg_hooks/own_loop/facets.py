"""What hooks see of a TrainState: its parts, its log, its folders."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import torch
from torch import nn

from seg_hooks.own_loop.checkpoints import Checkpoints
from seg_hooks.own_loop.log import RunLog
from seg_hooks.own_loop.passes import Passes
from seg_hooks.own_loop.record_sink import RecordSink
from seg_hooks.own_loop.scalars import ScalarStore
from seg_hooks.protocols import Stateful

__all__ = ["Facets"]


class Facets:
    """Names of the protocols, for what the parts of a TrainState hold. It is no use alone."""

    passes: Passes
    _checkpoints: Checkpoints
    _log: RunLog

    epoch = 0  # one pass of `max_iters` steps counts as one long epoch, however often the loader starts again
    max_epochs = 1
    cfg: object = None
    seed: int | None = None
    val_dataloader: object = None
    test_dataloader: object = None

    @property
    def model(self) -> nn.Module:
        """The model, as it was given."""
        return self._checkpoints.parts.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        self._checkpoints.parts.model = model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, as it was given."""
        return self._checkpoints.parts.optimizer

    @property
    def param_schedulers(self) -> list[Stateful]:
        """The schedulers, in a list."""
        return self._checkpoints.parts.schedulers

    @property
    def extra(self) -> dict[str, Stateful]:
        """The other parts that are saved and resumed, by name."""
        return self._checkpoints.parts.extra

    @property
    def hooks(self) -> list[object]:
        """The hooks in the order in which they run."""
        return self._checkpoints.parts.hooks

    @property
    def train_loop(self) -> Self:
        """The object whose `stop_training` a hook sets."""
        return self

    @property
    def train_dataloader(self) -> object:
        """The loader that was given to `batches()`; None before."""
        return self.passes.loader

    @train_dataloader.setter
    def train_dataloader(self, loader: Iterable[object]) -> None:
        self.passes.loader = loader

    @property
    def message_hub(self) -> ScalarStore:
        """The last values of each scalar, and facts about the run."""
        return self._log.hub

    @property
    def logger(self) -> logging.Logger:
        """The logger of this session: the terminal, and the text file in `log_dir`."""
        return self._log.logger

    @property
    def visualizer(self) -> RecordSink:
        """Takes records: JSON lines in `log_dir`, and the curves of `writer`."""
        return self._log.sink

    @property
    def log_dir(self) -> Path:
        """Folder of this session's log files."""
        return self._log.folder

    @property
    def work_dir(self) -> Path:
        """Folder of the run, the same over resumes."""
        return self._checkpoints.work_dir

    @property
    def experiment_name(self) -> str:
        """Name of the run: that of its folder."""
        return self._checkpoints.experiment_name
