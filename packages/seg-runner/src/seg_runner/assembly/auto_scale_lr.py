"""`auto_scale_lr`: learning rates multiplied by the actual over the base batch size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sized
from typing import Any, Protocol

__all__ = ["batch_size_of", "scale_lr"]


class Run(Protocol):
    """What scaling needs of a runner."""

    @property
    def data_ranks(self) -> int:
        """How many ranks the data are dealt to."""

    @property
    def param_schedulers(self) -> Sized | None:
        """The schedulers that are made already."""

    @property
    def logger(self) -> logging.Logger:
        """Where it is told."""


def batch_size_of(arguments: Mapping[str, Any], loader: object) -> int | None:
    """Return how many samples are in a batch, as the loader or its config says; None where neither does."""
    for source in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(source, "batch_size", None)
        if isinstance(size, int):
            return size
    cfg = arguments.get("train_dataloader")
    return cfg.get("batch_size") if isinstance(cfg, Mapping) else None


def scale_lr(wrapper: object, cfg: Mapping[str, Any] | None, batch_size: int | None, runner: Run) -> None:
    """Multiply every learning rate by the actual over the base batch size (`auto_scale_lr`).

    Raises:
        ValueError: the base or the actual batch size is not known.
    """
    if not cfg or not cfg.get("enable", False):
        return
    base = cfg.get("base_batch_size")
    if base is None:
        raise ValueError(
            "auto_scale_lr needs base_batch_size, the batch size that the learning rates were chosen for; it has "
            f"{', '.join(f'{key}={value!r}' for key, value in cfg.items())}"
        )
    if batch_size is None:
        raise ValueError("auto_scale_lr cannot see the batch size: give train_dataloader a batch_size")
    factor = batch_size * runner.data_ranks / base
    if factor != 1 and runner.param_schedulers:
        raise ValueError(
            f"auto_scale_lr would multiply the learning rates by {factor:g}, but the schedulers were made from the "
            "old ones: give param_scheduler as configs, or scale the learning rate where the optimizer is made"
        )
    wrappers: list[Any] = list(wrapper.values()) if hasattr(wrapper, "values") else [wrapper]
    for each in wrappers:
        for group in each.optimizer.param_groups:
            group["lr"] *= factor
            if "initial_lr" in group:
                group["initial_lr"] *= factor
    runner.logger.info(
        "auto_scale_lr: learning rates times %g (batch %d, base %d)", factor, batch_size * runner.data_ranks, base
    )
