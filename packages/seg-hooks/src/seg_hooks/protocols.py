"""What hooks ask of the object that runs them: facets of at most five members, satisfied by shape.

A hook names the facets that it takes and touches nothing else; `TrainState` and seg-runner's `Runner` both
satisfy all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = [
    "Data",
    "Describes",
    "HasModel",
    "Hub",
    "Logs",
    "Progress",
    "Resumes",
    "Saves",
    "Stateful",
    "Stops",
    "Updates",
]


class Progress(Protocol):
    """Where the run stands. Counts are of *finished* steps: inside `after_train_iter` the step is not yet counted."""

    @property
    def iter(self) -> int:
        """Finished iterations."""

    @property
    def epoch(self) -> int:
        """Finished epochs; stays 0 in iteration loops."""

    @property
    def max_iters(self) -> int:
        """Iterations of the whole run; 0 where nothing is trained."""

    @property
    def max_epochs(self) -> int:
        """Epochs of the whole run; 1 in iteration loops, 0 where nothing is trained."""


class Describes(Protocol):
    """What the run is called and what it was made from."""

    @property
    def cfg(self) -> Any:
        """The config, or None."""

    @property
    def seed(self) -> int | None:
        """Seed of the run, where there is one."""

    @property
    def experiment_name(self) -> str:
        """Name of the run."""


class HasModel(Protocol):
    """The model being trained, wrapped or not."""

    @property
    def model(self) -> nn.Module:
        """The module, maybe inside DDP or torch.compile."""


class Updates(Protocol):
    """What changes the weights."""

    @property
    def optim_wrapper(self) -> Any:
        """Has `get_lr()`, `param_groups`, `optimizer`, `load_state_dict`, and `grad_norm` (tensor or None)."""

    @property
    def param_schedulers(self) -> Any:
        """List of schedulers, dict of such lists, or None."""


class Hub(Protocol):
    """A message hub: the last values of each scalar, and facts about the run."""

    def update_scalar(self, name: str, value: float | Tensor, /) -> None:
        """Add a value; a tensor may stay on its device."""

    def update_scalars(self, values: Mapping[str, Any], /) -> None:
        """Add several values."""

    def update_info(self, name: str, value: object, /, resumed: bool = True) -> None:
        """Set a fact; one that is not `resumed` stays out of checkpoints."""

    def get_info(self, name: str, default: object = None, /) -> Any:
        """Return a fact, or the default."""

    def pop_info(self, name: str, default: object = None, /) -> Any:
        """Remove a fact and return it, or the default."""


class Logs(Protocol):
    """Where numbers and words go."""

    @property
    def message_hub(self) -> Hub:
        """The last values of each scalar, and facts about the run."""

    @property
    def logger(self) -> logging.Logger:
        """The run's logger."""

    @property
    def visualizer(self) -> Any:
        """Has `add_scalars(dict, step=, file_path=)` and `close()`; None where there is none."""

    @property
    def log_dir(self) -> Path | str:
        """Folder of this session's log files."""

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        """Return one record: values by name, and the line of text. `finished`: the summary of a val or test pass."""


class Saves(Protocol):
    """Writes checkpoints: the hook decides when, which is best and what goes; the owner writes."""

    @property
    def work_dir(self) -> Path | str:
        """Folder of the run, the same over resumes."""

    def save_checkpoint(
        self,
        path: str | Path,
        *,
        optimizer: bool = True,
        schedulers: bool = True,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        """Write a whole-or-absent file; `on_done` runs once it is complete (later, when saving is asynchronous)."""


class Resumes(Protocol):
    """Whether the checkpoint being loaded is resumed from (else only its weights are taken)."""

    @property
    def resuming(self) -> bool:
        """True inside `after_load_checkpoint` of a resume."""


class Data(Protocol):
    """The loaders; reading one builds nothing that is not yet there (None then)."""

    @property
    def train_dataloader(self) -> Any:
        """Loader of the training batches."""

    @property
    def val_dataloader(self) -> Any:
        """Loader of the validation batches."""

    @property
    def test_dataloader(self) -> Any:
        """Loader of the test batches."""


class Stops(Protocol):
    """The training loop, which a hook may ask to stop by setting `train_loop.stop_training = True`."""

    @property
    def train_loop(self) -> Any:
        """Has a boolean `stop_training`."""


class Stateful(Protocol):
    """A part whose state goes into checkpoints: a scheduler, a gradient scaler, a loader that keeps its place."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take over a state."""
