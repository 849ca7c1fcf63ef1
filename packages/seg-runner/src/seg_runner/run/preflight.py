"""Checks before the first step: they take seconds, change nothing, and say what to change."""

from __future__ import annotations

import copy
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from seg_runner.data.named_dataset import NamedDataset
from seg_runner.errors import add_note, written_at
from seg_runner.loop.evaluate import set_dataset_meta
from seg_runner.loop.validation_loss import LossMeter
from seg_runner.process.device import random_states, restore_random_states
from seg_runner.process.randomness import Randomness, global_state, set_global_state
from seg_runner.protocols import Metric
from seg_runner.run.data_checks import HasData, HasLengths, check_lengths, check_sizes, report_data
from seg_runner.run.monitored_metrics import Waits, check_monitored

__all__ = [
    "check_before_training",
    "check_disk",
    "check_optimizer",
    "check_writable",
    "disk_needed",
    "try_validation",
]


class Trains(Protocol):
    """A run about to train, as far as its disk and its optimizer are checked."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    @property
    def optim_wrapper(self) -> Any:
        """The optimizer wrapper, or several by name."""

    @property
    def hooks(self) -> list[Any]:
        """The hooks."""

    @property
    def work_dir(self) -> Path:
        """Where checkpoints go."""

    @property
    def world_size(self) -> int:
        """How many processes train together."""


class Validates(Protocol):
    """A run whose validation is tried."""

    @property
    def cfg(self) -> object:
        """The config, or None."""

    @property
    def model(self) -> Any:
        """The model."""

    @property
    def val_loop(self) -> Any:
        """The validation loop."""

    @property
    def randomness(self) -> Randomness:
        """Where random numbers come from."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


class Checked(Trains, Validates, Waits, HasData, HasLengths, Protocol):
    """A run that is checked before it trains: what all the checks look at."""


def check_before_training(runner: Checked) -> None:
    """Check write permission, disk, optimizer, data, one validation batch, and the metrics that hooks wait for.

    Raises:
        PermissionError: the working folder cannot be written to.
        OSError: too little disk for two checkpoints.
        ValueError: the optimizer steps nothing of this model.
        KeyError: a hook waits for a metric that validation does not give.
        Exception: whatever the data sets or the validation batch raise, with a note.
    """
    check_writable(runner.work_dir)
    check_disk(runner)
    check_optimizer(runner)
    check_lengths(runner)
    check_sizes(runner)
    report_data(runner, "train", "val")
    if not hasattr(runner.val_loop, "sets") or not runner.randomness.by_sample:
        return
    known = try_validation(runner)
    if known is not None:
        check_monitored(runner, known)
    if known == set():
        runner.logger.warning("validation measures nothing: give val_evaluator a metric, or val_cfg=dict(loss=True)")


def check_writable(folder: Path) -> None:
    """Raise where no file can be made in the folder."""
    probe = folder / f".write_test_{os.getpid()}"
    try:
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        add_note(
            error, f"work_dir={str(folder)!r} cannot be written to: choose another folder (--work-dir), or free space"
        )
        raise


def disk_needed(runner: Trains) -> int:
    """Return the bytes of a checkpoint at most: weights, what the optimizer keeps for them, averaged weights."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in runner.model.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in runner.model.parameters() if p.requires_grad)
    kept = {"SGD": 1, "Adam": 2, "AdamW": 2}
    optimizer = getattr(runner.optim_wrapper, "optimizer", None)
    states = kept.get(type(optimizer).__name__, 2)
    averaged = any("EMA" in type(hook).__name__ for hook in runner.hooks)
    return int(weights * (2 if averaged else 1) + trained * states)


def check_disk(runner: Trains) -> None:
    """Raise where two checkpoints would not fit: the last one, and the one that is being written."""
    needed, free = 2 * disk_needed(runner), shutil.disk_usage(runner.work_dir).free
    if needed > free:
        raise OSError(
            f"two checkpoints need about {needed / 2**20:.0f} MB; {runner.work_dir} has {free / 2**20:.0f} MB free: "
            "free space, choose another work_dir, or start with skip_checks=True"
        )


def check_optimizer(runner: Trains) -> None:
    """Raise where no tensor of the optimizer belongs to the model: training would change nothing, and say nothing."""
    groups = getattr(getattr(runner.optim_wrapper, "optimizer", None), "param_groups", None)
    if not isinstance(groups, list) or runner.world_size > 1:  # several optimizers; sharding makes new parameters
        return
    model = {id(parameter) for parameter in runner.model.parameters()}
    if model and not any(id(parameter) in model for group in groups for parameter in group["params"]):
        raise ValueError(
            "optim_wrapper holds no parameter of model, so that training would not change it: make the optimizer "
            "from the parameters of the model that is given to the runner, or start with skip_checks=True"
        )


def try_validation(runner: Validates) -> set[str] | None:
    """Run one batch of each validation set without hooks; return the names of the metrics, or None where not known."""
    known: set[str] = set()
    complete = True
    model = runner.model
    training = {module: module.training for module in model.modules()}
    with _random_state_kept():
        model.eval()
        try:
            for name, (loader, evaluator) in runner.val_loop.sets.items():
                named = f" of {name!r}" if name else ""
                with written_at(runner.cfg, "val_dataloader"):
                    batch = _first_batch(loader, f"val_dataloader{named}")
                found = None if batch is None else _measured(runner, batch, loader, evaluator)
                complete = complete and found is not None
                known |= {f"{name}/{key}" if name else key for key in found or ()}
        except Exception as error:
            add_note(error, "in the check before training: one validation batch (skip_checks=True leaves it out)")
            raise
        finally:
            for module, mode in training.items():
                module.training = mode
    return known if complete else None


def _first_batch(loader: object, where: str) -> Any:
    """Return the first batch of a loader; None where it cannot be read without changing anything."""
    if isinstance(loader, Iterator):
        raise ValueError(
            f"{where} is an iterator, {type(loader).__name__}, which gives its batches only once, and validation runs "
            "again and again: give a list of batches, or a torch.utils.data.DataLoader"
        )
    if isinstance(loader, Sequence):
        if not len(loader):
            raise ValueError(f"{where} gives no batch: it is empty")
        return copy.deepcopy(loader[0])
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None  # a stream cannot be read without moving it
    batch = next(iter(_single_process(loader)), None)
    if batch is None:
        raise ValueError(
            f"{where} gives no batch: its data set, {type(loader.dataset).__name__}, is empty, or smaller than "
            "a batch with drop_last=True. Look at the paths and the list of files that it reads."
        )
    return batch


@torch.no_grad()
def _measured(runner: Validates, batch: object, loader: object, evaluator: Metric | None) -> set[str] | None:
    """Return the names of what validation measures on a batch; None where a metric cannot be tried."""
    model = runner.model
    trial = _copied(evaluator)
    set_dataset_meta(loader, trial)
    meter = LossMeter(model if runner.val_loop.loss else None)
    with written_at(runner.cfg, "model"):
        outputs = meter.split(model.val_step(batch), batch)
    _compare_classes(runner.logger, outputs, loader)
    names = set(meter.values("val"))
    if evaluator is None:
        return names
    if trial is None:
        return None
    with _silence(), written_at(runner.cfg, "val_evaluator"):
        trial.process(data_samples=outputs, data_batch=batch)
        return names | set(trial.evaluate(len(outputs)))


def _compare_classes(logger: logging.Logger, outputs: Sequence[object], loader: object) -> None:
    """Warn of a model that gives other classes than the data set has."""
    logits = getattr(getattr(outputs[0], "seg_logits", None), "data", None) if len(outputs) else None
    classes = (getattr(getattr(loader, "dataset", None), "metainfo", None) or {}).get("classes")
    if logits is None or not classes or logits.shape[0] in (1, len(classes)):
        return
    text = "the model gives %d classes, the validation data have %d (%s, ...): is its number of classes right?"
    logger.warning(text, logits.shape[0], len(classes), classes[0])


def _single_process(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a loader of the same data, read in this process, with the loader's own samplers untouched."""
    sampler = copy.deepcopy(loader.batch_sampler, {id(loader.dataset): loader.dataset})  # the data is not copied
    if sampler is None:
        return DataLoader(NamedDataset(loader.dataset), batch_size=None, collate_fn=loader.collate_fn)
    return DataLoader(NamedDataset(loader.dataset), batch_sampler=sampler, collate_fn=loader.collate_fn)


def _copied(evaluator: Metric | None) -> Metric | None:
    """Return a copy that writes nothing; None where that cannot be promised."""
    if evaluator is None:
        return None
    metrics = getattr(evaluator, "metrics", [])
    if any(getattr(metric, "output_dir", None) or getattr(metric, "format_only", False) for metric in metrics):
        return None
    try:
        return copy.deepcopy(evaluator)
    except Exception:  # a metric that holds what cannot be copied
        return None


@contextmanager
def _silence() -> Iterator[None]:
    """No metric prints its table of one batch."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    state = global_state()
    on_device = random_states()
    try:
        yield
    finally:
        set_global_state(state)
        restore_random_states(on_device)
