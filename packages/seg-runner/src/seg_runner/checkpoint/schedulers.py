"""The schedulers' states; and the learning rates where the config has other schedulers than the checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeGuard, TypeVar

from seg_runner.checkpoint.content import own
from seg_runner.checkpoint.report import ResumeReport
from seg_runner.mmengine.schedulers import load_scheduler_state, scheduler_state
from seg_runner.protocols import Progress, Scheduler

__all__ = ["Schedulers", "Settings", "by_name", "settings"]

T = TypeVar("T")
Settings = dict[str, list[dict[str, Any]]]
"""Options of each group, by the name of its optimizer ("" where there is one)."""


class Overwritten(Protocol):
    """The optimizer, whose groups have taken over those of a checkpoint."""

    @property
    def optim_wrapper(self) -> object:
        """Return the optimizer wrapper; None where nothing is trained."""

    @property
    def before(self) -> Settings:
        """Return the options of its groups before that."""


class Movable(Protocol):
    """A scheduler of ours, which can be put anywhere without stepping there."""

    param_name: str
    by_epoch: bool

    def seek(self, step: int) -> object:
        """Set the values of this step."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values only."""


class Schedulers:
    """The schedulers, one list of them or a list for each optimizer.

    Lists of other kinds than the checkpoint's begin where the config puts them at this point of the run.

    Args:
        schedulers: The schedulers; None where there are none.
        optimizer: The part that restores the optimizer, before this one.
        progress: The run's counts.
    """

    key = "param_schedulers"

    def __init__(
        self,
        schedulers: list[Scheduler] | Mapping[str, list[Scheduler]] | None,
        optimizer: Overwritten,
        progress: Progress,
    ) -> None:
        self.schedulers, self.optimizer, self.progress = schedulers, optimizer, progress

    def save(self) -> object:
        """Return their states, in lists like theirs."""
        if not self.schedulers:
            return None
        saved = {name: [scheduler_state(one) for one in group] for name, group in by_name(self.schedulers).items()}
        return saved if isinstance(self.schedulers, Mapping) else saved[""]

    def restore(self, checkpoint: Mapping[str, object], report: ResumeReport) -> None:
        """Hand each its state, or put them where the config says."""
        saved, meta = checkpoint.get(self.key), checkpoint["meta"]
        mine, theirs = by_name(self.schedulers or []), by_name(saved if isinstance(saved, list | Mapping) else [])
        if not any(mine.values()) and (not any(theirs.values()) or "optimizer" not in checkpoint):
            return
        if saved is None:
            report.not_restored.append("schedulers: not in the checkpoint")
            return
        why = _other_kinds(mine, theirs, ours=isinstance(meta, Mapping) and "run_id" in meta)
        if why:
            told = f"schedulers: {why}: not restored; {self._begin_anew(mine, theirs)}"
            report.not_restored.append(told)
            report.warnings.append(told)
            return
        for name, group in mine.items():
            for scheduler, state in zip(group, theirs[name], strict=True):
                load_scheduler_state(scheduler, own(state))
        report.restored.append("schedulers")

    def _begin_anew(self, mine: Mapping[str, list[Scheduler]], theirs: Mapping[str, list[Any]]) -> str:
        """Give the groups what the config says for this point of the run; say in words what they have now.

        What the checkpoint's schedulers steered goes back to the optimizer's own value first.
        """
        names = {str(state.get("param_name", "lr")) for group in theirs.values() for state in group}
        for name, groups in _groups(self.optimizer.optim_wrapper).items():
            before = self.optimizer.before.get(name, [])
            for group, old in zip(groups, before if len(before) == len(groups) else (), strict=False):
                group.update({key: old[key] for key in names if key in old})
        schedulers = [scheduler for group in mine.values() for scheduler in group]
        if not schedulers:
            return f"{_words(names)} what the optimizer's config says, and stays so"
        fixed = [type(scheduler).__name__ for scheduler in schedulers if not _is_movable(scheduler)]
        for scheduler in filter(_is_movable, schedulers):
            scheduler.seek(self._steps(scheduler))
            names.add(scheduler.param_name)
        if fixed:
            return f"{_words(names)} what this config says, but {', '.join(fixed)} cannot be moved on and starts again"
        return f"{_words(names)} what the schedulers of this config give at iteration {self.progress.finished_iters}"

    def _steps(self, scheduler: Movable) -> int:
        """Return how often the scheduler would have been stepped by now."""
        if scheduler.by_epoch:
            return int(self.progress.finished_epochs)
        window = 1
        if getattr(scheduler, "unit", None) == "step":
            window = int(getattr(self.optimizer.optim_wrapper, "accumulative_counts", 1) or 1)
        return int(self.progress.finished_iters) // window


def _is_movable(scheduler: object) -> TypeGuard[Movable]:
    return hasattr(scheduler, "seek")


def by_name(listed: Iterable[T] | Mapping[str, list[T]]) -> dict[str, list[T]]:
    """Return lists by the name of their optimizer; "" for the only one.

    >>> by_name([1, 2]), by_name({"head": [3]})
    ({'': [1, 2]}, {'head': [3]})
    """
    return dict(listed) if isinstance(listed, Mapping) else {"": list(listed)}


def settings(optim_wrapper: object) -> Settings:
    """Return a copy of the options of all groups."""
    return {name: [dict(group) for group in groups] for name, groups in _groups(optim_wrapper).items()}


def _groups(optim_wrapper: object) -> Settings:
    return by_name(getattr(optim_wrapper, "param_groups", None) or [])


def _other_kinds(mine: Mapping[str, list[Scheduler]], theirs: Mapping[str, list[object]], *, ours: bool) -> str:
    """Say in which way two lists of schedulers are not the same kinds; nothing where they are.

    Args:
        mine: The schedulers of this run.
        theirs: The states of a checkpoint.
        ours: Whether seg-runner wrote it; states of other makers may lack what ours have.
    """
    if {name: len(group) for name, group in mine.items()} != {name: len(group) for name, group in theirs.items()}:
        return f"{sum(map(len, theirs.values()))} in the checkpoint, {sum(map(len, mine.values()))} in this run"
    pairs = [pair for name, group in mine.items() for pair in zip(group, theirs[name], strict=True)]
    for scheduler, state in pairs if ours else ():
        if _is_movable(scheduler) and isinstance(state, Mapping) and scheduler.state_dict().keys() != state.keys():
            return f"{type(scheduler).__name__} in this run is of another type than in the checkpoint"
    return ""


def _words(names: set[str]) -> str:
    return f"the {', '.join('learning rate' if name == 'lr' else name for name in sorted(names) or ['lr'])} is"
