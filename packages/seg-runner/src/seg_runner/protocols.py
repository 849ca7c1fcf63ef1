"""What the runner asks of the parts it is given: facets of at most five members, satisfied by shape.

The package that *calls* owns the Protocol; nothing that satisfies one imports it. A part may satisfy several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

__all__ = [
    "Builder",
    "Config",
    "Loop",
    "Metric",
    "Pictures",
    "Progress",
    "Rates",
    "Resumes",
    "Scheduler",
    "Stateful",
    "TestModel",
    "TrainModel",
    "Updates",
    "ValModel",
    "find_builder",
]


@runtime_checkable
class Builder(Protocol):
    """Turns names into objects. Found through the entry point `seg_engine.build`, or passed to `from_cfg`."""

    def get(self, kind: str, name: str) -> Any:
        """The class or function called `name` in the registry of this kind (`hook`, `optimizer`, ...)."""

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: object) -> Any:
        """An object from a config with a `type`; `defaults` fill in keys that the config lacks."""


@runtime_checkable
class Stateful(Protocol):
    """A part whose state goes into checkpoints."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors and plain values only, so that the file loads with `weights_only=True`."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take over a state; the class says what it does with keys that it does not know."""


class Updates(Protocol):
    """An optimizer wrapper, as a training step uses it."""

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Autocast and `no_sync` round preprocessing and forward pass."""

    def update_params(self, loss: torch.Tensor) -> None:
        """Scale, backward; on the last micro-step of a window also clip, step and clear the gradients."""

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Tell the wrapper where the run stands, so that the last, shorter window gets the right divisor."""


class Rates(Protocol):
    """An optimizer wrapper, as schedulers and the log see it."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups (plus the extra `base_lr` group, where there is one)."""

    def get_lr(self) -> dict[str, list[float]]:
        """`{'lr': [one per group]}`, plus `base_lr`."""

    def get_momentum(self) -> dict[str, list[float]]:
        """`{'momentum': [one per group]}`."""


class Scheduler(Protocol):
    """One parameter schedule. `by_epoch` says at which point it is stepped; torch's own have no such attribute."""

    def step(self) -> None:
        """Move on by one iteration or epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values only."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the position."""


class TrainModel(Protocol):
    """A model that can be trained: MMEngine's BaseModel and our adapter both have this shape."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Any]:
        """Forward, losses, update; returns the log variables as detached tensors, `loss` among them."""


class ValModel(Protocol):
    """A model that can be validated."""

    def val_step(self, data: Any) -> Sequence[Any]:
        """One data sample per image, with its prediction and its ground truth."""


class TestModel(Protocol):
    """A model that can be tested."""

    def test_step(self, data: Any) -> Sequence[Any]:
        """One data sample per image."""


class Metric(Protocol):
    """A metric. `dataset_meta` is set before use where the object has, or allows, that attribute."""

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Take in one batch."""

    def evaluate(self, size: int) -> dict[str, Any]:
        """The values over `size` samples (padding that samplers added is beyond it), then forget them."""


class Pictures(Protocol):
    """The visualizer, as the runner uses it: a place where configs and scalars go."""

    dataset_meta: Any

    def add_config(self, config: Config) -> None:
        """Keep the resolved config."""

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None) -> None:
        """Write one record."""

    def close(self) -> None:
        """Everything written; nothing lost."""


@runtime_checkable
class Resumes(Protocol):
    """A visualizer that keeps no row twice when a run goes on from a checkpoint; it need not be one."""

    def resume_from(self, step: int, *, owes_validation: bool, log_dir: Path, earlier: Sequence[Path]) -> None:
        """The checkpoint has `step` iterations; whether the validation after them is run again; folders of logs."""


class Progress(Protocol):
    """Where a run stands."""

    @property
    def finished_iters(self) -> int:
        """Iterations whose update is done; inside `after_train_iter` the step that just ended is one of them."""

    @property
    def finished_epochs(self) -> int:
        """Epochs whose last step is done."""

    @property
    def seed(self) -> int:
        """The seed of the run."""


@runtime_checkable
class Loop(Protocol):
    """Any class with `run()` is a loop."""

    def run(self) -> Any:
        """Train: returns the model. Validate and test: returns the metrics."""


class Batches(Protocol):
    """A stream of training batches that knows its position and can be put anywhere without reading data."""

    def __next__(self) -> Any:
        """The next batch; endless."""

    def __iter__(self) -> Iterator[Any]:
        """Itself."""

    def seek(self, iteration: int) -> None:
        """Go to where a run stands after `iteration` batches; reads no sample."""

    def close(self) -> None:
        """Stop the workers."""


class Config(Protocol):
    """A whole config as it is read: a dict, or what is read like one and knows where its values were written."""

    def get(self, key: str, default: Any = None, /) -> Any:
        """The value of a key, or the default."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """Keys and values."""

    def __getitem__(self, key: str, /) -> Any:
        """The value of a key."""

    def __contains__(self, key: object, /) -> bool:
        """Whether there is this key."""

    def __iter__(self) -> Iterator[str]:
        """The keys."""


def find_builder(cfg: object = None) -> Builder | None:
    """Return the builder behind the entry point `seg_engine.build`, set up for this config; None without one."""
    from importlib.metadata import entry_points

    found = list(entry_points(group="seg_engine.build"))
    if not found:
        return None
    make: Callable[[Any], Builder] = found[0].load()
    return make(cfg)
