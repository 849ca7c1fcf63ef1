"""What the ranks of a TrainState do together, where there are several: folders, metrics, and how they end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from seg_hooks.files import clean_leftovers
from seg_hooks.hooks.runtime_info import as_scalar, flatten
from seg_hooks.loaders import length_of
from seg_hooks.own_loop.arguments import make_folder
from seg_hooks.own_loop.log import session_folder
from seg_hooks.processes.meeting import Meeting
from seg_hooks.processes.world import World
from seg_hooks.protocols import HasModel, Logs, Progress

__all__ = ["Together", "exit_code", "make_folders", "same_metrics"]


TALKING = ("CheckpointHook", "EarlyStoppingHook", "LoggerHook", "NanGuardHook", "SyncBuffersHook")
"""Hooks that wait for those of other ranks; any other one may be on some of them only."""


class _Run(Progress, HasModel, Logs, Protocol):
    pass


class Together:
    """The ranks of a run from its beginning to its end; with one process it only holds the folder.

    Args:
        world: The ranks.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock: ExitStack | None = None
        """The folder's, held inside `with state:`; that of rank 0 for all."""
        self.began_at = 0
        self.all_stop = False
        """Whether all ranks have learned that one of them wants to stop."""
        self._meeting = Meeting(world) if world.size > 1 else None

    def begin(self, lock: ExitStack, run: _Run, hooks: list[object]) -> None:
        """Begin, and hear signals where there are several ranks.

        Raises:
            RuntimeError: ranks have different hooks, numbers of steps, or places to begin at.
        """
        self.lock, self.began_at, self.all_stop = lock, run.iter, False
        if self._meeting is None:
            return
        talking = [kind for kind in (type(hook).__name__ for hook in hooks) if kind in TALKING]
        _refuse_different(self.world, {"max_iters": run.max_iters, "finished iterations": run.iter, "hooks": talking})
        _warn_of_lone_models(self.world, run.model, run.logger)
        self._meeting.open(run.iter)
        lock.callback(self._meeting.close)

    def compare_lengths(self, loader: object, logger: logging.Logger) -> None:
        """Say where a pass over the data has other numbers of batches on other ranks."""
        lengths = self.world.gather(length_of(loader))
        if len(set(lengths)) > 1:
            logger.warning(
                "The ranks do not have the same number of batches in a pass (%s): they come into different passes, and "
                "may train on the same samples. Give each of them DistributedSampler(dataset).",
                ", ".join(f"rank {rank}: {length}" for rank, length in enumerate(lengths[:8])),
            )

    def end(self) -> None:
        """Give the folder and the signals back."""
        lock, self.lock = self.lock, None
        if lock is not None:
            lock.close()

    def stops(self, here: bool) -> bool:
        """Tell whether training is to stop: as this process wants it, or as all ranks have learned."""
        return here if self._meeting is None else self.all_stop

    def ask(self, step: int, stop: bool, now: bool) -> int:
        """Return the signal that came to any rank, where the ranks ask one another after this step; else 0."""
        if self._meeting is None:
            return 0
        came, stops = self._meeting.ask(step, stop, now)
        self.all_stop = self.all_stop or stops
        return came

    def ask_soon(self) -> None:
        """Have the ranks ask one another at the end of this step."""
        if self._meeting is not None:
            self._meeting.soon()


def exit_code(number: int) -> int:
    """Return the exit code of a run that saved and left on a signal, as shells count.

    >>> exit_code(15)
    143
    """
    return 128 + number


def make_folders(work_dir: object) -> tuple[Path, Path, list[str]]:
    """Make the folder of the run and that of this session; return them, and what a killed save had left there."""
    folder = make_folder(work_dir)
    return folder, session_folder(folder), clean_leftovers(folder)


def same_metrics(world: World, metrics: dict[str, Any], logger: logging.Logger) -> dict[str, Any]:
    """Return the metrics of rank 0, on all ranks; where other ranks have other numbers, say so."""
    if world.size == 1:
        return metrics
    shared: dict[str, Any] = world.first(lambda: _portable(metrics))
    own, first = _numbers(metrics), _numbers(shared)
    odd = next((name for name, value in own.items() if name in first and first[name] != value), None)
    told = world.gather(None if odd is None or own[odd] != own[odd] else (odd, own[odd]))
    other = next(((rank, *one) for rank, one in enumerate(told) if one is not None), None)
    if other is not None:
        rank, name, value = other
        logger.warning(
            "validated(): %s is %s on rank 0 and %s on rank %d; that of rank 0 counts. Reduce metrics over the ranks "
            "first, or validate all data on rank 0.",
            name,
            first[name],
            value,
            rank,
        )
    return shared


def _portable(value: Any) -> Any:
    """Return metrics as they can be told: tensors in main memory."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {name: _portable(one) for name, one in value.items()}
    return value


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    found = ((name, as_scalar(value)) for name, value in flatten(metrics))
    return {name: float(value) for name, value in found if value is not None}


def _refuse_different(world: World, facts: dict[str, Any]) -> None:
    """Refuse ranks that differ in what must be the same: they would wait for one another for ever."""
    told = world.gather(facts)
    for rank, others in enumerate(told):
        for name, value in told[0].items():
            if others[name] != value:
                raise RuntimeError(
                    f"TrainState: {name} is {value} on rank 0 and {others[name]} on rank {rank}; all ranks have to run "
                    "the same script with the same arguments, on the same files."
                )


def _warn_of_lone_models(world: World, model: nn.Module, logger: logging.Logger) -> None:
    """Say once where nothing in the model exchanges gradients: each rank then trains a model of its own."""
    names = {kind.__name__ for module in model.modules() for kind in type(module).__mro__}
    if not any(name.endswith("DataParallel") or name == "FSDPModule" for name in names):
        logger.warning(
            "The model is not wrapped for %d processes (%s): unless your loop averages the gradients, each of them "
            "trains a model of its own. Give DistributedDataParallel(model).",
            world.size,
            world.says,
        )
