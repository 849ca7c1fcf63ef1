"""Before the first step of several ranks: whether all of them run the same code, config, hooks and data."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from seg_runner.assembly.arguments import Arguments
from seg_runner.distributed.digest import canonical, compare_ranks, facts_of_code
from seg_runner.distributed.world import World
from seg_runner.model.wrapping import unwrap
from seg_runner.run.record import git_state, installed_versions

__all__ = ["check_same_everywhere"]

OWN = frozenset(
    ("build", "cfg", "data_root", "device", "env_cfg", "hooks", "launcher", "load_from", "local_rank", "log_level",
     "model", "overwrite", "randomness", "resume", "work_dir")
)  # fmt: skip
"""Arguments that may differ from rank to rank, or of which rank 0's counts, or that are compared in another way."""


class Parts(Protocol):
    """A run whose parts are built."""

    @property
    def arguments(self) -> Arguments:
        """The arguments."""

    @property
    def cfg(self) -> Any:
        """The config, or None."""

    @property
    def hooks(self) -> list[Any]:
        """The hooks in their order."""

    @property
    def model(self) -> Any:
        """The model."""

    @property
    def optim_wrapper(self) -> Any:
        """The optimizer wrapper."""


class Loops(Parts, Protocol):
    """A run whose loops are built, on one or several ranks."""

    @property
    def points(self) -> object:
        """The timetable of the hooks."""

    @property
    def train_loop(self) -> Any:
        """The training loop."""

    @property
    def val_loop(self) -> Any:
        """The validation loop, or None."""

    @property
    def world(self) -> World:
        """The processes of the run."""


def check_same_everywhere(runner: Loops) -> None:
    """Compare what the ranks are about to run; called by all, and nothing with one.

    Raises:
        ValueError: they differ; the message says in what, and on which ranks.
    """
    if runner.world.size == 1 or runner.arguments["skip_checks"]:
        return
    compare_ranks(runner.world, {**_code(runner), **_config(runner), **_hooks(runner), **_data(runner)})


def _code(runner: Loops) -> dict[str, object]:
    commit = (git_state(Path.cwd())[0] or {}).get("commit")
    datasets = [getattr(loop, "dataset", None) for loop in _loaders(runner)]
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        **installed_versions(),
        "git commit": commit,
        **facts_of_code([unwrap(runner.model), *runner.hooks, *filter(None, datasets)]),
    }


def _config(runner: Parts) -> dict[str, object]:
    given: dict[str, Any] = {**runner.arguments}
    if isinstance(runner.cfg, Mapping):
        given |= runner.cfg
    facts: dict[str, object] = {name: canonical(value) for name, value in given.items() if name not in OWN}
    groups = getattr(runner.optim_wrapper, "param_groups", None)
    return facts | {"parameter groups": len(groups) if isinstance(groups, list) else None}


def _hooks(runner: Loops) -> dict[str, object]:
    names = ", ".join(type(hook).__name__ for hook in runner.hooks)
    return {"hooks": names, "timetable of the hooks": str(runner.points)}


def _data(runner: Loops) -> dict[str, object]:
    train, loop = runner.train_loop, runner.val_loop
    facts: dict[str, object] = {
        "iterations": getattr(train, "max_iters", None),
        "batches per epoch": getattr(train, "epoch_length", None),
        "batches between validations": getattr(train, "val_interval", None),
    }
    facts["samples of train_dataloader"] = _length(getattr(getattr(train, "dataloader", None), "dataset", None))
    for name, (loader, _) in getattr(loop, "sets", {}).items():
        key = f"val_dataloader.{name}" if name else "val_dataloader"
        facts[f"samples of {key}"] = _length(getattr(loader, "dataset", None))
    return facts


def _loaders(runner: Loops) -> list[Any]:
    sets = [loader for loader, _ in getattr(runner.val_loop, "sets", {}).values()]
    return [getattr(runner.train_loop, "dataloader", None), *sets]


def _length(dataset: object) -> int | None:
    """Return the length of a map-style data set; one that streams may be dealt to the ranks by itself."""
    try:
        return len(dataset) if hasattr(dataset, "__getitem__") else None  # type: ignore[arg-type]  # raises without
    except TypeError:
        return None
