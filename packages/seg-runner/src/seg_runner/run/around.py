"""One `train`, `val` or `test` of a runner from its first moment to its last, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from seg_runner.assembly.hooks import add_fallback_hooks
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.hooks.table import HookTable
from seg_runner.log.setup import library_log, remove_start
from seg_runner.process.giving_way import giving_way
from seg_runner.run.at_address import AtAddress, brought_over, not_brought
from seg_runner.run.session import (
    EndsTraining,
    HasLog,
    HasLoops,
    HoldsFolder,
    ReportsAtTheEnd,
    TakesSignals,
    call_on_exception,
    close_data,
    finish_training,
    hear_signals,
    hold_folder,
    keep_state,
    report_at_the_end,
    with_other_ranks,
)

__all__ = ["session"]


class Opens(TakesSignals, HoldsFolder, AtAddress, Protocol):
    """A runner, as it begins and ends."""

    @property
    def log_dir(self) -> Path:
        """Folder of this start's logs."""

    @property
    def made_folders(self) -> list[Path]:
        """Folders that were made for this start."""

    @property
    def saver(self) -> CheckpointSaver:
        """What writes checkpoints."""


class Runs(Opens, EndsTraining, HasLoops, HasLog, ReportsAtTheEnd, Protocol):
    """A runner that is about to train, validate or test."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def table(self) -> HookTable:
        """Its hooks."""

    @property
    def instances(self) -> AbstractContextManager[object]:
        """What stands for MMEngine's global objects while it runs."""

    def call_hook(self, fn_name: str, **keywords: object) -> None:
        """Run a point of all hooks."""


@dataclass
class Ended:
    """How a run ended.

    Attributes:
        lost: What could not be saved or brought over, in words; empty where nothing is lost.
    """

    lost: str = ""


@contextmanager
def session(runner: Runs, mode: str) -> Iterator[Ended]:
    """Hold what one `train`, `val` or `test` needs: frozen hooks, signals, the folder; close files at the end.

    What fails before its first step leaves no folder behind.

    Args:
        runner: The runner.
        mode: 'train', 'val' or 'test'.
    """
    runner.log_dir.mkdir(parents=True, exist_ok=True)  # an earlier try may have failed
    add_fallback_hooks(runner.table, runner.arguments["default_hooks"])
    runner.table.running = True
    ended = Ended()
    try:
        with library_log(runner.logger), runner.instances:
            with ExitStack() as stack:  # left from the last line to the first
                stack.enter_context(runner.world.session(runner, runner.logger))
                if mode == "train":
                    signals = stack.enter_context(hear_signals(runner, runner.arguments["signals"]))
                stack.enter_context(brought_over(runner))
                stack.callback(_close, runner)
                stack.enter_context(call_on_exception(runner.call_hook))
                if mode == "train":
                    stack.enter_context(keep_state(runner, signals))
                stack.enter_context(with_other_ranks(runner))
                stack.enter_context(hold_folder(runner, mode))
                stack.enter_context(report_at_the_end(runner))
                stack.enter_context(giving_way(runner.device, runner.logger.info))
                yield ended
            if mode == "train":
                ended.lost = finish_training(runner) or not_brought(runner)
    except BaseException:
        if not runner.underway and runner.rank == 0:
            remove_start(runner.log_dir, runner.made_folders)
        raise
    finally:
        if runner.remote is not None:
            runner.remote.add_rest()
        if mode == "train":
            runner.hear(None)


def _close(runner: Runs) -> None:
    """End workers and writers, however the run ends."""
    runner.table.running = False
    close_data(runner)
    runner.saver.wait()
