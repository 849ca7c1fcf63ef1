"""A run whose work directory lies at an address: when its files are brought there, and what its end waits for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from seg_runner.distributed.world import World
from seg_runner.process.signals import StopNow, StopSignals, leaving
from seg_runner.remote.mirror import Mirror
from seg_runner.remote.stubs import fetch_whole
from seg_runner.run.earlier_run import REPLAY

__all__ = ["bring_over", "brought_over", "not_brought"]


class OfRank(Protocol):
    """One process of a run."""

    @property
    def rank(self) -> int:
        """The number of this process."""

    @property
    def world(self) -> World:
        """The processes of the run."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


class AtAddress(OfRank, Protocol):
    """A run whose working folder may lie at an address."""

    @property
    def remote(self) -> Mirror | None:
        """What keeps the folder and the address in line."""

    @property
    def signals(self) -> StopSignals | None:
        """The signals that a training hears."""

    @property
    def hooks(self) -> list[Any]:
        """The hooks."""


def bring_over(runner: AtAddress) -> None:
    """Bring files to the run's address from here on, if it has one; not where a step of it is only shown again."""
    if runner.remote is None or runner.rank != 0 or REPLAY in os.environ:
        return
    if any(getattr(hook, "published_keys", None) for hook in runner.hooks):
        for path in runner.remote.work_dir.glob("best_*.pth"):  # read at the end by what knows only its path
            fetch_whole(path)
    runner.remote.begin(runner.logger)


def not_brought(runner: AtAddress) -> str:
    """Return what the end of a run could not bring over, in words that were said already; called on all ranks."""
    return "" if runner.remote is None else runner.world.share(runner.remote.left)


@contextmanager
def brought_over(runner: AtAddress) -> Iterator[None]:
    """Bring over at the end what is not there yet; a signal's time may be over before."""
    try:
        yield
    finally:
        if runner.remote is not None:
            try:
                runner.remote.finish()
            except StopNow as stop:
                if runner.signals is None or runner.signals.requested is None:
                    raise
                raise leaving(runner.signals.requested) from stop
