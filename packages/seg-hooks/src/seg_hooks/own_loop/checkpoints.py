"""Checkpoints of a TrainState: what lies in them, where they are written, and from which one a run goes on."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seg_hooks.__about__ import __version__
from seg_hooks.files import interrupted_at, interrupted_in, write_whole
from seg_hooks.hooks.nan_replay import kept_checkpoint, last_step
from seg_hooks.model import finite
from seg_hooks.model.weights import load_weights, weights_of
from seg_hooks.own_loop import find_checkpoint
from seg_hooks.own_loop.arguments import Parts, existing_file
from seg_hooks.own_loop.lock import check_folder
from seg_hooks.own_loop.passes import Passes
from seg_hooks.own_loop.scalars import ScalarStore
from seg_hooks.processes.world import World
from seg_hooks.randomness import load_random, random_state, reseed_apart

__all__ = ["Checkpoints", "hook_names"]

COUNTED = re.compile(r"(?:iter|epoch|interrupted_iter)_\d+\.pth")
QUIET = logging.Logger("seg_hooks.quiet", logging.CRITICAL + 1)


class Checkpoints:
    """Saves and resumes a run; says what is there and, where a file is not, what was lost and what a resume takes.

    Args:
        parts: Model, optimizer, schedulers, hooks and other parts whose state is saved.
        hub: Scalars and facts, saved too.
        passes: The place in the data, saved too.
        work_dir: The folder of the run.
        logger: Is told of everything.
        overwrite: Delete what an earlier run left there, when a new one begins.
        world: The ranks: rank 0 looks and writes, each of them reads.
    """

    def __init__(
        self,
        parts: Parts,
        hub: ScalarStore,
        passes: Passes,
        work_dir: Path,
        logger: logging.Logger,
        overwrite: bool,
        world: World,
    ) -> None:
        self.parts, self.hub, self.passes = parts, hub, passes
        self.work_dir, self.logger = work_dir, logger
        self.overwrite, self.world = overwrite, world
        self.written: int | None = None
        """Finished iterations in the last file that was written."""
        self.postponed: list[Callable[[], None]] = []
        self._may_resume = False
        self._known: dict[Path, tuple[tuple[int, int], int, bool]] = {}

    @property
    def experiment_name(self) -> str:
        """The name of the run's folder."""
        return self.work_dir.resolve().name

    def check_start(self, iteration: int) -> None:
        """Refuse to start a new run over an earlier one, and hooks whose state cannot be saved."""
        if iteration == 0 and not self._may_resume and last_step() is None:
            check_folder(self.work_dir, self.overwrite, self.logger)
        for name, hook in hook_names(self.parts.hooks):
            if (state_dict := getattr(hook, "state_dict", None)) is not None:
                checked_state(name, state_dict)

    def find(self, path: str | Path | None) -> tuple[Path, dict[str, Any]] | None:
        """Read this file, or the newest whole checkpoint of the folder; None where there is none.

        Of several ranks the first one looks, and every one of them reads what it found.
        """
        self._may_resume = True
        if self.world.size == 1:
            return self._find(path)
        found: list[tuple[Path, dict[str, Any]] | None] = [None]

        def look() -> Path | None:
            found[0] = self._find(path)
            return None if found[0] is None else found[0][0]

        place = self.world.first(look)
        if place is None:
            return None
        return self.world.each(lambda: found[0] or (place, find_checkpoint.read_whole(place)))

    def _find(self, path: str | Path | None) -> tuple[Path, dict[str, Any]] | None:
        file = kept_checkpoint() if path is None else existing_file(path, self.work_dir)
        if file is None:
            found = find_checkpoint.newest_whole(self.work_dir, self.logger, most=last_step())
        else:
            found = file, find_checkpoint.read_whole(file)
        if found is None:
            if last_step() is None:
                find_checkpoint.refuse_not_finite(self.work_dir)
            best = sorted(path.name for path in self.work_dir.glob("best_*.pth"))
            if best:
                text = "No regular checkpoint: the run starts from the beginning. To use the best one: resume(%r)."
                self.logger.warning(text, best[-1])
        elif finite.is_marked(found[1]):
            self.logger.warning("%s contains weights that are not finite.", found[0])
        return found

    def warn_of_newer_interrupted(self, iteration: int) -> None:
        """Warn of each newer file that an exception left and a resume from `iteration` leaves out."""
        for path in interrupted_in(self.work_dir, find_checkpoint.MOST_ITERS):
            if interrupted_at(path) > iteration:
                text = "%s is newer than iteration %d, from which this run goes on. To use the newer file: resume(%r)."
                self.logger.warning(text, path.name, iteration, str(path))

    def gather(self, finished: int, *, optimizer: bool, schedulers: bool) -> dict[str, Any]:
        """Collect a checkpoint after `finished` iterations, in MMEngine's layout with keys of our own."""
        checkpoint: dict[str, Any] = {
            "meta": {
                "epoch": 0,
                "iter": finished,
                "experiment_name": self.experiment_name,
                "seed": None,
                "time": time.strftime("%Y%m%d_%H%M%S", time.localtime()),
                "seg_hooks_version": __version__,
            },
            "state_dict": weights_of(self.parts.model),
            "message_hub": self.hub.state_dict(),
            "hooks": _states(hook_names(self.parts.hooks), self.logger),
            "extra": _states(self.parts.extra.items(), self.logger),
            "data": self.passes.state_dict(),
            "random": random_state(),
        }
        if optimizer:
            checkpoint["optimizer"] = self.parts.optimizer.state_dict()
        if schedulers and self.parts.schedulers:
            checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in self.parts.schedulers]
        if self.world.size > 1:
            own = {"random": checkpoint["random"], "data": checkpoint["data"]}
            own["log_scalars"] = checkpoint["message_hub"]["log_scalars"]
            checkpoint["ranks"] = self.world.collect(in_main_memory(own, {}))
        moved: dict[object, torch.Tensor] = {}
        if self.world.rank:
            return checkpoint
        return {name: in_main_memory(value, moved) for name, value in checkpoint.items()}

    def mark(self, checkpoint: dict[str, Any]) -> None:
        """Note in a checkpoint which of its values are not finite; hooks keep, delete and point by it."""
        look = partial(_spoilt, checkpoint)
        bad, optimizer = self.world.first(look)
        checkpoint["meta"] |= {"not_finite": bad, "optimizer_not_finite": optimizer}
        self.hub.update_info("checkpoint_finite", not bad, resumed=False)

    def restore(self, checkpoint: Mapping[str, Any], data: bool) -> list[str]:
        """Put a checkpoint back, random numbers last; what the file did not hold."""
        parts, missing = self.parts, []
        load_weights(parts.model, checkpoint["state_dict"])
        if "optimizer" in checkpoint:
            _load_optimizer(parts.optimizer, checkpoint["optimizer"])
        else:
            missing.append("optimizer")
        saved = checkpoint.get("param_schedulers", [])
        if len(saved) != len(parts.schedulers):
            missing.append(f"schedulers (the file holds {len(saved)}, the run has {len(parts.schedulers)})")
        else:
            for scheduler, values in zip(parts.schedulers, saved, strict=True):
                scheduler.load_state_dict(values)
        own = self._of_this_rank(checkpoint)
        self.hub.load_state_dict({**checkpoint["message_hub"], **own})
        missing += _load_named("hook", hook_names(parts.hooks), checkpoint.get("hooks", {}))
        missing += _load_named("extra", parts.extra.items(), checkpoint.get("extra", {}))
        if data and "data" in own:
            self.passes.load_state_dict(own["data"])
        elif data:
            missing.append("place in the data")
        load_random(own.get("random", {}))
        saved_by = len(checkpoint["ranks"]) if "ranks" in checkpoint else 1
        if self.world.rank >= saved_by:
            reseed_apart(self.world.rank)
        if saved_by != self.world.size:
            text = "not restored: the random numbers of each rank, of which there were %d, and are %d."
            self.logger.warning(text, saved_by, self.world.size)
        return missing

    def _of_this_rank(self, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Return random numbers, place in the data and last scalars of this rank; of another one, where it is new."""
        ranks = checkpoint.get("ranks", [])
        whole = {name: checkpoint[name] for name in ("random", "data") if name in checkpoint}
        return {**whole, **ranks[self.world.rank % len(ranks)]} if ranks else whole

    def write(self, path: Path, checkpoint: dict[str, Any], on_done: Callable[[], None] | None) -> None:
        """Write a file and look at it; then `on_done`, which points to it and deletes old ones.

        Of several ranks the first one writes; the others do `on_done` once the file is there.
        """
        done = int(checkpoint["meta"]["iter"])
        there = self.world.first(lambda: self._write(path, checkpoint, on_done))
        self.written = done if there else self.written
        if there and self.world.rank and on_done is not None:
            on_done()

    def _write(self, path: Path, checkpoint: dict[str, Any], on_done: Callable[[], None] | None) -> bool:
        """Write a file and do `on_done`; whether the file is there."""
        meta = checkpoint["meta"]
        done, bad = int(meta["iter"]), meta["not_finite"]
        try:
            write_whole(path, lambda file: torch.save(checkpoint, file))
            self._known[path.resolve()] = (_stamp(path), done, bool(bad))
        except OSError as error:
            self.logger.error("%s could not be written (%s). %s.", path, error, self._resume_words(done))
            return False
        try:
            if on_done is not None:
                on_done()
        except OSError as error:  # it may meet the same full disk
            text = "%s is written, but updating last_checkpoint or deleting older files failed (%s). %s."
            self.logger.error(text, path, error, self._resume_words(done))
        if bad and path.exists():
            text = "%s is marked: its weights are not finite (%s). %s."
            self.logger.warning(text, path.name, ", ".join(bad[:3]), self._resume_words(done))
        elif (kept := meta.get("optimizer_not_finite")) and path.exists():
            text = "%s: the optimizer's state is not finite (%s): these parameters may not learn any more."
            self.logger.warning(text, path.name, ", ".join(kept[:3]))
        return True

    def write_postponed(self) -> None:
        """Write what waited for the end of the step, and keep it out of the timing."""
        began = time.perf_counter()
        waiting, self.postponed = self.postponed, []
        for write in waiting:
            write()
        self.hub.update_info("pause", time.perf_counter() - began, resumed=False)

    def counts(self, path: Path) -> bool:
        """Tell whether a file that no hook asked for counts like a regular one: by its name, in the run's folder."""
        return bool(COUNTED.fullmatch(path.name)) and path.parent.resolve() == self.work_dir.resolve()

    def point_to(self, path: Path) -> None:
        """Make `last_checkpoint` name a file, unless its weights are not finite or an exception left it."""
        if self.world.rank == 0 and self.hub.get_info("checkpoint_finite") is not False and not interrupted_at(path):
            write_whole(self.work_dir / "last_checkpoint", path.name.encode())

    def _resume_words(self, done: int) -> str:
        """Say which file `resume()` would take now, and how many iterations would have to be made again."""
        try:
            found = self._newest()
        except Exception as error:  # whatever is wrong with the folder, these are only words
            return f"Cannot tell whether there is a checkpoint to resume from: {error}"
        if found is None:
            words = f"There is no checkpoint to resume from in {self.work_dir}: a run would start from the beginning"
            return f"{words}; {done} iterations are lost then" if done else words
        path, count, bad = found
        again = f"; {done - count} iterations are to be made again" if done > count else ""
        alone = "; its weights are not finite, and there is no other" if bad else ""
        return f"A resume goes on from {path} (iteration {count}{again}{alone})"

    def _newest(self) -> tuple[Path, int, bool] | None:
        """Find what a resume takes; files of this session are known and not read again."""
        for path in find_checkpoint.candidates(self.work_dir):
            stamp, count, bad = self._known.get(path.resolve(), ((0, 0), 0, True))
            if stamp != _stamp(path):
                break
            if not bad:
                return path, count, False
        found = find_checkpoint.newest_whole(self.work_dir, QUIET)
        if found is None:
            return None
        path, checkpoint = found
        entry = (_stamp(path), int(checkpoint["meta"]["iter"]), finite.is_marked(checkpoint))
        self._known[path.resolve()] = entry
        return path, *entry[1:]


def _spoilt(checkpoint: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """List the weights, and the parts of the optimizer's state, that are not finite."""
    return finite.not_finite(checkpoint), finite.optimizer_not_finite(checkpoint)


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file that is there."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def in_main_memory(value: Any, moved: dict[object, torch.Tensor]) -> Any:
    """Return the same tree with every tensor on the CPU, so that it loads anywhere; views of one memory move once."""
    if isinstance(value, torch.Tensor):
        if value.device.type == "cpu":
            return value
        key = (value.untyped_storage()._cdata, value.storage_offset(), value.shape, value.stride())
        if key not in moved:
            moved[key] = value.cpu()
        return moved[key]
    if isinstance(value, dict):
        return {name: in_main_memory(each, moved) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(in_main_memory(each, moved) for each in value)
    return value


def _states(parts: Iterable[tuple[str, object]], logger: logging.Logger) -> dict[str, Any]:
    """Return the state of each part that has one; one that cannot be saved is reported and costs no checkpoint."""
    states = {}
    for name, part in parts:
        if (state_dict := getattr(part, "state_dict", None)) is not None:
            try:
                states[name] = checked_state(name, state_dict)
            except TypeError as error:
                logger.error("%s The checkpoint is written without it.", error)
    return states


def checked_state(name: str, state_dict: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a part's state; TypeError where it holds what a file that is safe to load cannot."""
    state = state_dict()
    unsafe = _unsafe(state)
    if unsafe is not None:
        raise TypeError(
            f"TrainState: state_dict() of {name} contains {unsafe}; only numbers, text, tensors, and lists and dicts "
            "of these can be saved."
        )
    return state


def _unsafe(value: object) -> str | None:
    """Say what in a state cannot be loaded with `weights_only=True`; None where everything can."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set):
        return next((found for one in value if (found := _unsafe(one)) is not None), None)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.Tensor):
        return None if type(value).__module__ != "numpy" else f"a numpy.{type(value).__name__} (take float(...) of it)"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Load the state of an optimizer; ValueError where it is that of another kind."""
    for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=False):
        lacking = [name for name in optimizer.defaults if name in own and name not in group]
        if lacking:
            raise ValueError(
                f"the checkpoint's optimizer has no {', '.join(lacking)}; is it of another type than the "
                f"{type(optimizer).__name__} of this run?"
            )
    optimizer.load_state_dict(dict(saved))


def _load_named(kind: str, parts: Iterable[tuple[str, object]], saved: Mapping[str, Any]) -> list[str]:
    """Give each part its state; the names of those that the file holds none of."""
    missing = []
    for name, part in parts:
        load_state_dict = getattr(part, "load_state_dict", None)
        if load_state_dict is None:
            continue
        if name in saved:
            load_state_dict(saved[name])
        else:
            missing.append(f"{kind} {name}")
    return missing


def hook_names(hooks: Iterable[object]) -> Iterator[tuple[str, object]]:
    """Yield each hook under the name of its class; from the second of a class on with its number: `EMAHook#2`."""
    seen: dict[str, int] = {}
    for hook in hooks:
        name = type(hook).__name__
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), hook
