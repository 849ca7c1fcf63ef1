"""The parts of a run's state, one class each: where it stands, weights, optimizer, hooks, position in the data."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard

import torch

from seg_runner.checkpoint.content import own
from seg_runner.checkpoint.find import next_generation
from seg_runner.checkpoint.report import (
    ResumeReport,
    class_changes,
    config_changes,
    config_text,
    fill_version_changes,
    versions,
)
from seg_runner.checkpoint.schedulers import Settings, settings
from seg_runner.checkpoint.state import is_stateful
from seg_runner.checkpoint.weights import load_weights, weights_of
from seg_runner.checks import count_of
from seg_runner.data.stream import TrainBatches
from seg_runner.model.wrapping import unwrap
from seg_runner.process.randomness import Randomness
from seg_runner.protocols import Progress, Stateful

__all__ = ["Averages", "Changes", "DataPosition", "Gradients", "Hooks", "Identity", "Optimizer", "Place", "Weights"]

Content = Mapping[str, object]


class Described(Protocol):
    """What a checkpoint says of its run, and a resumed run is compared with."""

    @property
    def cfg(self) -> object:
        """The whole config; None where there is none."""

    @property
    def experiment_name(self) -> str:
        """The name of the experiment."""

    @property
    def randomness(self) -> Randomness:
        """Where random numbers come from."""

    @property
    def train_dataloader(self) -> object:
        """The loader of training batches."""

    @property
    def world_size(self) -> int:
        """How many processes train together."""


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


class Place:
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
            f"meta.{key} of this checkpoint is {meta[key]!r:.60}, which no run counts: it was damaged, or made by "
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


class Weights:
    """The weights of the bare model, without the prefixes of wrappers.

    Args:
        model: The model, wrapped or not.
        hooks: The run's hooks: where none averages, a checkpoint's raw weights go on, not its averaged ones.
        load_options: As the config gives them; `strict=False` goes on even where no weight fits.
    """

    key = "state_dict"

    def __init__(self, model: torch.nn.Module, hooks: Iterable[object], load_options: Content | None) -> None:
        self.model, self.hooks, self.load_options = model, hooks, load_options or {}

    def save(self) -> dict[str, torch.Tensor]:
        """Return them, even where there are none: every checkpoint has this key."""
        return weights_of(self.model)

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Load them into the model.

        Raises:
            RuntimeError: Not one of them fits.
        """
        weights, name = checkpoint.get("state_dict", {}), "weights"
        raw = checkpoint.get("ema_state_dict")
        averages = any("EMAHook" in kind.__name__ for hook in self.hooks for kind in type(hook).__mro__)
        if isinstance(raw, Mapping) and raw and not averages:
            weights = {key.removeprefix("module."): value for key, value in raw.items() if key != "steps"}
            name = "weights (the raw ones, as this run has no EMAHook)"
        found = load_weights(self.model, weights if isinstance(weights, Mapping) else {})
        if found.wanted and not found.loaded and self.load_options.get("strict") is not False:
            raise RuntimeError(
                "no weight of this checkpoint fits the model, so no run can go on from it (load_options.strict=False "
                "goes on with fresh weights all the same):\n  " + "\n  ".join(found.lines()[1:])
            )
        (report.restored if found.whole else report.not_restored).append(name)
        report.not_restored += found.lines()[1:]


class Averages:
    """Averaged weights, which EMAHook writes and takes itself; here it is only said what became of them."""

    key = "ema_state_dict"

    def __init__(self, hooks: Iterable[object]) -> None:
        self.hooks = hooks

    def save(self) -> None:
        """Return nothing: the hook adds them at `before_save_checkpoint`."""

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Report whether a hook took them, at `after_load_checkpoint`."""
        takes = any(hasattr(hook, "ema_model") for hook in self.hooks)
        if self.key in checkpoint and takes:
            report.restored.append("averaged weights")
        elif self.key in checkpoint:
            report.not_restored.append("averaged weights: no EMAHook in this run; the raw ones go on")
        elif takes:
            report.not_restored.append("averaged weights: not in the checkpoint")


class Optimizer:
    """The optimizer's state and groups.

    Args:
        optim_wrapper: The optimizer wrapper; None where nothing is trained.

    Attributes:
        before: The options of its groups before the checkpoint's were taken over: schedulers may need them.
    """

    key = "optimizer"

    def __init__(self, optim_wrapper: Stateful | None) -> None:
        self.optim_wrapper = optim_wrapper
        self.before: Settings = {}

    def save(self) -> object:
        """Return the wrapper's state."""
        return None if self.optim_wrapper is None else self.optim_wrapper.state_dict() or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Take over the state."""
        self.before = settings(self.optim_wrapper)
        if self.optim_wrapper is None:
            return
        if self.key not in checkpoint:
            report.not_restored.append("optimizer: not in the checkpoint")
            return
        self.optim_wrapper.load_state_dict(own(checkpoint[self.key]))
        report.restored.append("optimizer")


class Gradients:
    """Gradients of an accumulation that a checkpoint cuts in the middle; none where every step ends a window."""

    key = "grads"

    def __init__(self, model: torch.nn.Module, optim_wrapper: object) -> None:
        self.model, self.optim_wrapper = model, optim_wrapper

    def save(self) -> dict[str, torch.Tensor] | None:
        """Return them by the names of their parameters, and what the model itself counts over a window."""
        if self.optim_wrapper is None:
            return None
        should_update = getattr(self.optim_wrapper, "should_update", None)
        single = getattr(self.optim_wrapper, "accumulative_counts", None) == 1
        if single or (callable(should_update) and should_update()):
            return None
        bare = unwrap(self.model)
        grads = {name: parameter.grad for name, parameter in bare.named_parameters() if parameter.grad is not None}
        counted = getattr(bare, "open_window", None)
        return ({**grads, **counted()} if grads and callable(counted) else grads) or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Give the parameters their gradients, where the optimizer goes on, too."""
        grads = checkpoint.get(self.key)
        if self.optim_wrapper is None or "optimizer" not in checkpoint or not isinstance(grads, Mapping) or not grads:
            return
        bare = unwrap(self.model)
        for name, parameter in bare.named_parameters():
            if name in grads:
                parameter.grad = grads[name].clone().to(parameter.device)
        take = getattr(bare, "take_open_window", None)
        if callable(take):
            take(grads)
        report.restored.append("gradients of the unfinished accumulation")


class Hooks:
    """The states of hooks, under their classes' names; the second of a class is `Name#2`."""

    key = "hooks"

    def __init__(self, hooks: Sequence[object]) -> None:
        self.hooks = hooks

    def save(self) -> dict[str, dict[str, object]] | None:
        """Return the state of each hook that has one."""
        return {name: dict(hook.state_dict()) for name, hook in self._stateful()} or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Hand each hook its own; report hooks that came or went."""
        found = checkpoint.get(self.key)
        saved = dict(found) if isinstance(found, Mapping) else {}
        for name, hook in self._stateful():
            if name in saved:
                hook.load_state_dict(own(saved.pop(name)))
                report.restored.append(name)
            elif hook.state_dict():
                report.not_restored.append(f"hook {name}: not in the checkpoint")
        report.not_restored += [f"hook {name}: in the checkpoint, not in this run" for name in saved]

    def _stateful(self) -> Iterator[tuple[str, Stateful]]:
        counts: dict[str, int] = {}
        for hook in self.hooks:
            if is_stateful(hook):
                name = type(hook).__name__
                counts[name] = counts.get(name, 0) + 1
                yield (name if counts[name] == 1 else f"{name}#{counts[name]}"), hook


class DataPosition:
    """The position in the data, and the random numbers that follow from it.

    Args:
        loop: The training loop; one without `batches` keeps no position.
        progress: The run's counts and its seed.
        resume_data: False: keep all counts, but begin a fresh pass over the data.
    """

    key = "data"

    def __init__(self, loop: object, progress: Progress, *, resume_data: bool) -> None:
        self.loop, self.progress, self.resume_data = loop, progress, resume_data
        self.batches: TrainBatches | None = getattr(loop, "batches", None)

    def save(self) -> dict[str, object] | None:
        """Return the position after the finished iterations, whatever was read ahead."""
        return None if self.batches is None else self.batches.state_dict(self.progress.finished_iters) or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Go to the saved position; where there is none, count it from the iterations."""
        saved, batches = checkpoint.get(self.key), self.batches
        if batches is None:
            return
        iteration = int(getattr(self.loop, "iter", 0))
        if not self.resume_data:
            batches.restart(dict(saved) if isinstance(saved, Mapping) and saved else {"iteration": iteration})
            report.not_restored.append("position in the data: resume_data=False begins a fresh pass")
            return
        if isinstance(saved, Mapping):
            report.unexplained += batches.load_state_dict(own(dict(saved)))
            if not batches.notes:
                report.restored.append("position in the data, random numbers")
        else:
            batches.follow(self.progress.seed)
            batches.seek(iteration)
            report.not_restored.append("position in the data: not in the checkpoint, counted from its iteration")
        report.not_restored += batches.notes


class Changes:
    """What is not restored, but compared: classes, config, versions.

    The last part: a changed config key explains what the position in the data found changed.
    """

    key = "meta"

    def __init__(self, run: Described) -> None:
        self.run = run

    def save(self) -> None:
        """Return nothing: `Place` writes what is compared."""

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Report what changed since the checkpoint."""
        meta = checkpoint["meta"]
        if not isinstance(meta, Mapping):
            return
        told = class_changes(meta.get("dataset_meta"), dataset_meta(self.run))
        if told:
            report.unexplained.append(told)
            report.warnings.append(f"{told}: the weights go on with what they learned as the first")
        report.changed += config_changes(str(meta.get("cfg", "")), config_text(self.run.cfg))
        if any(line.split(":")[0].startswith("train_dataloader") for line in report.changed):
            data = [line for line in report.unexplained if line.startswith("data:")]
            report.unexplained = [line for line in report.unexplained if line not in data]
            report.changed += data
        fill_version_changes(report, meta.get("versions") or {})
