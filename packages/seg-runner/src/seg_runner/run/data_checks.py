"""Before the first step: what data sets have to say, and lengths and sizes that cannot be meant."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from seg_runner.assembly.fallback import each_scheduler
from seg_runner.errors import add_note, origin_of, written_at
from seg_runner.loop.train import EpochBasedTrainLoop, IterBasedTrainLoop

__all__ = ["HasData", "HasLengths", "check_lengths", "check_sizes", "report_data"]

PARTS = ("model", "train_dataloader", "val_dataloader", "test_dataloader", "data_preprocessor", "tta_model")
"""What a run is built from, of all that a config holds."""

ENDLESS = 10**9
"""From here on a schedule's end means that it has none."""


class HasData(Protocol):
    """A run with data."""

    @property
    def loaders(self) -> Mapping[str, Any]:
        """The loader of each mode, or a dict of named ones."""

    @property
    def val_loop(self) -> Any:
        """The validation loop, or None."""

    @property
    def test_loop(self) -> Any:
        """The test loop, or None."""

    @property
    def cfg(self) -> Any:
        """The config, or None."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


class HasLengths(Protocol):
    """A run whose schedules and validations must fit into its training."""

    @property
    def train_loop(self) -> Any:
        """The training loop."""

    @property
    def val_loop(self) -> object:
        """The validation loop, or None."""

    @property
    def param_schedulers(self) -> Any:
        """The schedulers."""

    @property
    def cfg(self) -> object:
        """The config, or None."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


def report_data(runner: HasData, *modes: str) -> None:
    """Log what the data sets of these modes (such as 'train') have to say: `data_report()`, where they have that.

    Raises:
        Exception: what a data set finds wrong, with a note.
    """
    for mode in modes:
        if mode != "train":
            tell_dropped(runner.val_loop if mode == "val" else runner.test_loop, mode, runner.logger)
    for key, dataset in (found for mode in modes for found in _datasets(runner, mode)):
        report = getattr(dataset, "data_report", None)
        if not callable(report):
            continue
        try:
            with written_at(runner.cfg, key):
                lines = report()
        except Exception as error:
            add_note(error, f"in the check of the data before the first step: {key} (skip_checks=True leaves it out)")
            raise
        for level, text in lines:
            runner.logger.log(level, "%s: %s", key, text)


def _datasets(runner: HasData, mode: str) -> Iterator[tuple[str, Any]]:
    """Yield the data sets of a mode, each with its key in a config."""
    loaders = runner.loaders.get(mode)
    for name, loader in loaders.items() if isinstance(loaders, Mapping) else [("", loaders)]:
        yield f"{mode}_dataloader{f' of {name!r}' if name else ''}", getattr(loader, "dataset", None)


def check_lengths(runner: HasLengths) -> None:
    """Warn of a schedule that the training is too short for, and of validation that never comes."""
    _check_begin(runner)
    last: tuple[int, str, Any] = (0, "", None)
    for scheduler in each_scheduler(runner.param_schedulers):
        if _counts_what_never_comes(runner, scheduler):
            continue
        unit = "max_epochs" if getattr(scheduler, "by_epoch", False) else "max_iters"
        total, end = getattr(runner.train_loop, unit, None), getattr(scheduler, "end", None)
        if isinstance(total, int) and isinstance(end, int) and total < end < ENDLESS and end > last[0]:
            last = (end, f"train_cfg.{unit}={total}", scheduler)
    end, short, scheduler = last
    if scheduler is not None:
        runner.logger.warning(
            "%s is shorter than the schedule: %s ends at %d, so that the learning rate does not get where it should: "
            "set its end, too",
            short, type(scheduler).__name__, end,
        )  # fmt: skip


def _counts_what_never_comes(runner: HasLengths, scheduler: object) -> bool:
    """Warn of a schedule in epochs where training counts iterations: the loop has one epoch, which ends with it."""
    waits = getattr(scheduler, "need_val_args", False)  # for the metrics of a validation, not for an epoch
    if not isinstance(runner.train_loop, IterBasedTrainLoop) or not getattr(scheduler, "by_epoch", False) or waits:
        return False
    name = getattr(scheduler, "param_name", "lr")
    runner.logger.warning(
        "%s counts epochs (by_epoch=True), and this training counts iterations (train_cfg.max_iters=%d), so that the "
        "%s stays at its first value: give it by_epoch=False, and its begin and end in iterations",
        type(scheduler).__name__,
        runner.train_loop.max_iters,
        "learning rate" if name == "lr" else name,
    )
    return True


def _check_begin(runner: HasLengths) -> None:
    """Warn of a `val_begin` that training does not reach."""
    loop, epochs = runner.train_loop, isinstance(runner.train_loop, EpochBasedTrainLoop)
    unit = "max_epochs" if epochs else "max_iters"
    begin, total = getattr(loop, "val_begin", None), getattr(loop, unit, None)
    if runner.val_loop is None or not isinstance(begin, int) or not isinstance(total, int) or not 0 < total < begin:
        return
    runner.logger.warning(
        "train_cfg.val_begin=%d%s comes after the end of training (%s=%d), so that no validation is ever run: give a "
        "val_begin of at most %d",
        begin, origin_of(runner.cfg, "train_cfg.val_begin"), unit, total, total,
    )  # fmt: skip


def tell_dropped(loop: object, mode: str, logger: logging.Logger) -> None:
    """Warn of images that a validation or test leaves out because they fill no batch (`drop_last=True`)."""
    for name, (loader, _) in getattr(loop, "sets", {}).items():
        batches = getattr(loader, "batch_sampler", None)
        size: Any = getattr(batches, "batch_size", None)
        sampler: Any = getattr(batches, "sampler", None)
        if not getattr(batches, "drop_last", False) or not isinstance(size, int) or not hasattr(sampler, "__len__"):
            continue
        if left := len(sampler) % size:
            logger.warning(
                "%s_dataloader%s: drop_last=True leaves out %d of %d images, which do not fill a batch of %d and so "
                "count in no metric: drop_last=False measures them all",
                mode, f" of {name!r}" if name else "", left, len(sampler), size,
            )  # fmt: skip


def check_sizes(runner: HasData) -> None:
    """Warn of a `crop_size` in the config that nothing uses: what a base file made of its own value stays."""
    given = None if runner.cfg is None else _pair(runner.cfg.get("crop_size"))
    if given is None:
        return
    used = [found for part in PARTS for found in _sizes(runner.cfg.get(part), part)]
    if used and all(value != given for _, value in used):
        first = ", ".join(f"{key}={value}" for key, value in used[:2])
        runner.logger.warning(
            "crop_size=%s%s is used by nothing: the parts have %s. A base file has used its own value already: set the "
            "parts, too",
            given, origin_of(runner.cfg, "crop_size"), first,
        )  # fmt: skip


def _sizes(part: object, key: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield all `crop_size`, and `size` of preprocessors, inside a part."""
    if isinstance(part, Mapping):
        for name, value in part.items():
            found = _pair(value)
            if found is not None and (name == "crop_size" or (name == "size" and "data_preprocessor" in key)):
                yield f"{key}.{name}", found
            yield from _sizes(value, f"{key}.{name}")
    elif isinstance(part, list | tuple):
        for index, value in enumerate(part):
            yield from _sizes(value, f"{key}.{index}")


def _pair(value: object) -> tuple[int, int] | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return value[0], value[1]
    return None
