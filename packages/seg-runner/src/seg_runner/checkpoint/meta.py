"""What a checkpoint says of its run, under `meta`: where it stood, its name, its config; and what changed since."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard

from torch import nn

from seg_runner.checkpoint.find import next_generation
from seg_runner.checkpoint.report import (
    ResumeReport,
    class_changes,
    config_changes,
    config_text,
    fill_version_changes,
    versions,
)
from seg_runner.checks import count_of
from seg_runner.distributed.world import World
from seg_runner.process.randomness import Randomness
from seg_runner.protocols import Progress
from seg_runner.remote.mirror import Mirror

__all__ = ["Changes", "Identity", "Meta", "Run", "Training"]

Content = Mapping[str, object]


class Folders(Protocol):
    """Where a run writes."""

    @property
    def work_dir(self) -> Path:
        """Return the folder of the run, where its checkpoints lie."""

    @property
    def remote(self) -> Mirror | None:
        """Return what keeps the folder in line with an address, where it lies at one."""

    @property
    def log_dir(self) -> Path:
        """Return the folder of this start's logs."""


class Run(Folders, Protocol):
    """What stands round a run."""

    @property
    def logger(self) -> logging.Logger:
        """Return the run's logger."""

    @property
    def world(self) -> World:
        """Return the processes of the run; the first of them writes."""

    def call_hook(self, fn_name: str, **keywords: object) -> None:
        """Run a point of all hooks."""


class Training(Protocol):
    """What is trained, and how far."""

    @property
    def model(self) -> nn.Module:
        """Return the model."""

    @property
    def train_loop(self) -> object:
        """Return the training loop; None before it is built."""

    @property
    def finished_iters(self) -> int:
        """Return the iterations whose update is done."""

    @property
    def finished_epochs(self) -> int:
        """Return the epochs whose last step is done."""

    @property
    def counts_epochs(self) -> bool:
        """Tell whether the training loop counts epochs rather than iterations."""


class Described(Protocol):
    """What a checkpoint says of its run, and a resumed run is compared with."""

    @property
    def cfg(self) -> object:
        """Return the whole config; None where there is none."""

    @property
    def experiment_name(self) -> str:
        """Return the name of the experiment."""

    @property
    def randomness(self) -> Randomness:
        """Return where random numbers come from."""

    @property
    def train_dataloader(self) -> object:
        """Return the loader of training batches."""

    @property
    def world_size(self) -> int:
        """Return how many processes train together."""


@dataclass
class Identity:
    """A name for a run, kept over resumes, and a count that tells its files from older ones in the same folder."""

    work_dir: Path
    run_id: object = None
    generation: int | None = None

    def fill(self) -> None:
        """Give a run that has none a name and a count."""
        if self.run_id is None:
            self.run_id, self.generation = secrets.token_hex(8), None
        if self.generation is None:
            self.generation = next_generation(self.work_dir)


class Meta:
    """Where the run stands, and what it is: `meta`.

    Args:
        run: The run.
        progress: Its counts.
        loop: The training loop.
        identity: The run's name; a resumed run takes over that of the checkpoint.
        take_seed: Called with the checkpoint's seed where that is another one than the run's.
    """

    key = "meta"

    def __init__(
        self, run: Described, progress: Progress, loop: object, identity: Identity, take_seed: Callable[[int], None]
    ) -> None:
        self.run, self.progress, self.loop = run, progress, loop
        self.identity, self.take_seed = identity, take_seed

    def save(self) -> dict[str, object]:
        """Return counts, config, seed, versions and the run's name."""
        self.identity.fill()
        return {
            "epoch": int(self.progress.finished_epochs),
            "iter": int(self.progress.finished_iters),
            "cfg": config_text(self.run.cfg),
            "seed": self.progress.seed,
            "experiment_name": self.run.experiment_name,
            "time": time.strftime("%Y%m%d_%H%M%S", time.localtime()),
            "dataset_meta": dataset_meta(self.run),
            "versions": versions(),
            "world_size": self.run.world_size,
            "run_id": self.identity.run_id,
            "generation": self.identity.generation,
        }

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Put the loop's counters, the run's name and its seed where the checkpoint's stand.

        Raises:
            ValueError: The checkpoint does not say where its run stood.
        """
        meta = checkpoint.get("meta")
        if not isinstance(meta, Mapping) or "iter" not in meta:
            raise ValueError(
                "this file has weights but no `meta.iter`, so no run can go on from it; use load_from for it"
            )
        iteration, epoch = _count(meta, "iter"), _count(meta, "epoch")
        self.identity.run_id, self.identity.generation = meta.get("run_id"), _count(meta, "generation")
        seed, mine = meta.get("seed"), self.run.randomness
        if isinstance(seed, int) and seed != mine.seed:
            if mine.chosen:
                report.changed.append(f"randomness.seed: {seed} -> {mine.seed}; the checkpoint's is used")
            self.take_seed(seed)
        _seek(self.loop, iteration, epoch, report)


def _count(meta: Content, key: str) -> int:
    found = count_of(meta.get(key, 0))
    if found is None:
        raise ValueError(
            f"meta.{key} of this checkpoint is {meta[key]!r:.60}, which no run can have: it was damaged, or made by "
            "something else. Its weights can still be loaded with load_from"
        )
    return found


class _MMEngineLoop(Protocol):
    """A loop written for MMEngine, which has no method to put it anywhere."""

    _iter: int
    _epoch: int


def _has_counters(loop: object) -> TypeGuard[_MMEngineLoop]:
    return hasattr(loop, "_iter")


def _seek(loop: object, iteration: int, epoch: int, report: ResumeReport) -> None:
    """Put a loop where the run stood: ours by `seek`, one written for MMEngine by its two counters."""
    place, seek = f"iteration {iteration}, epoch {epoch}", getattr(loop, "seek", None)
    if callable(seek):
        seek(iteration, epoch)
    elif _has_counters(loop):
        loop._iter, loop._epoch = iteration, epoch
    else:
        report.not_restored.append(f"{place}: {type(loop).__name__} has no seek(iteration, epoch)")
        return
    report.restored.append(place)


def dataset_meta(run: Described) -> object:
    """Return what the training data say of themselves: names of classes, colours."""
    return getattr(getattr(run.train_dataloader, "dataset", None), "metainfo", None)


class Changes:
    """What is not restored, but compared: classes, config, versions.

    The last part: a changed config key explains what the position in the data found changed.
    """

    key = "meta"

    def __init__(self, run: Described) -> None:
        self.run = run

    def save(self) -> None:
        """Return nothing: `Meta` writes what is compared."""

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Report what changed since the checkpoint."""
        meta = checkpoint["meta"]
        if not isinstance(meta, Mapping):
            return
        told = class_changes(meta.get("dataset_meta"), dataset_meta(self.run))
        if told:
            report.unexplained.append(told)
            report.warnings.append(f"{told}: the weights keep what they learned for the old one")
        report.changed += config_changes(str(meta.get("cfg", "")), config_text(self.run.cfg))
        if any(line.split(":")[0].startswith("train_dataloader") for line in report.changed):
            data = [line for line in report.unexplained if line.startswith("data:")]
            report.unexplained = [line for line in report.unexplained if line not in data]
            report.changed += data
        fill_version_changes(report, meta.get("versions") or {})
