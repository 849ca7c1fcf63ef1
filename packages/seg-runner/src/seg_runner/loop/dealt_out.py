"""Validation and test on several processes: what is told of it, and lists of results in the order of one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import Logger
from typing import Any, Protocol

from seg_runner.data.deal import why_not_dealt
from seg_runner.data.private_loader import is_map_style
from seg_runner.distributed.world import World
from seg_runner.evaluation.ranks import put_in_order

__all__ = ["put_lists_in_order", "tell_of_ranks"]


class Told(Protocol):
    """The runner, as far as it says something."""

    @property
    def world(self) -> World:
        """Return the processes."""

    @property
    def logger(self) -> Logger:
        """Return the log of the run."""


def put_lists_in_order(
    evaluator: object, world: World, numbers: Sequence[int], counts: Sequence[int], logger: Logger
) -> None:
    """Let metrics that keep a list of results have it in the order of one process.

    Args:
        evaluator: One metric, or what holds several.
        world: The processes.
        numbers: Of the batches that this rank has seen.
        counts: How many samples each had.
        logger: Where it is said that a list does not tell which result is which sample's.
    """
    for metric in getattr(evaluator, "metrics", [evaluator]):
        if isinstance(getattr(metric, "results", None), list) and not put_in_order(metric, world, numbers, counts):
            logger.warning(
                "%s keeps another number of results than samples, so they stay in the order of the ranks",
                type(metric).__name__,
            )


def tell_of_ranks(runner: Told, mode: str, sets: Mapping[str, tuple[object, object]]) -> None:
    """Say what is not shared out between the processes, and which metrics know nothing of them."""
    world, warning = runner.world, runner.logger.warning
    for name, (loader, evaluator) in sets.items() if world.size > 1 else ():
        if not is_map_style(loader):
            key = f"{mode}_dataloader.{name}" if name else f"{mode}_dataloader"
            text = "%s %s: each of %d processes reads all that it gives there, so let it give each its own share"
            warning(text, key, why_not_dealt(loader), world.size)
        for metric in getattr(evaluator, "metrics", [evaluator] if evaluator is not None else []):
            if not _knows_ranks(metric):
                warning(
                    "%s knows nothing of several processes: its values are of the samples of one of them. Let it "
                    "keep a list `results` with one for each sample, or take a metric of torchmetrics",
                    type(getattr(metric, "metric", metric)).__name__,
                )


def _knows_ranks(metric: Any) -> bool:
    """Tell whether a metric sees the samples of all processes: ours, MMEngine's, torchmetrics', lists of results."""
    inside = getattr(metric, "metric", None)  # of torchmetrics
    ours = any(kind.__module__.startswith(("seg_runner.", "seg_engine.")) for kind in type(metric).__mro__)
    if ours and inside is not None:
        return hasattr(inside, "sync_on_compute")
    return ours or isinstance(getattr(metric, "results", None), list) or hasattr(metric, "collect_device")
