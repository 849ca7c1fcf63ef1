"""Learning rates after a resume whose config has other schedulers than the checkpoint: those of the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Settings", "by_name", "make_anew", "other_list", "settings"]

Settings = dict[str, list[dict[str, Any]]]
"""Options of each group, by the name of its optimizer ("" where there is one)."""


def by_name(schedulers: Any) -> dict[str, list[Any]]:
    """The lists of schedulers by the name of their optimizer; "" for the only one.

    >>> by_name([1, 2]), by_name({"head": [3]})
    ({'': [1, 2]}, {'head': [3]})
    """
    return dict(schedulers) if isinstance(schedulers, Mapping) else {"": list(schedulers)}


def settings(optim_wrapper: Any) -> Settings:
    """A copy of the options of all groups, to be put back by `make_anew`."""
    return {name: [dict(group) for group in groups] for name, groups in _groups(optim_wrapper).items()}


def _groups(optim_wrapper: Any) -> dict[str, list[dict[str, Any]]]:
    return by_name(getattr(optim_wrapper, "param_groups", None) or [])


def other_list(mine: Mapping[str, list[Any]], theirs: Mapping[str, list[Any]], *, ours: bool) -> str:
    """In which way two lists of schedulers are not the same kinds; nothing where they are.

    Args:
        mine: The schedulers of this run.
        theirs: The states of a checkpoint.
        ours: Whether seg-runner wrote it; states of other makers may lack what ours have.
    """
    if {name: len(group) for name, group in mine.items()} != {name: len(group) for name, group in theirs.items()}:
        return f"{sum(map(len, theirs.values()))} in the checkpoint, {sum(map(len, mine.values()))} in this run"
    pairs = [pair for name, group in mine.items() for pair in zip(group, theirs[name], strict=True)]
    for scheduler, state in pairs if ours else ():
        if hasattr(scheduler, "seek") and isinstance(state, Mapping) and scheduler.state_dict().keys() != state.keys():
            return f"{type(scheduler).__name__} in this run stands where the checkpoint has another kind"
    return ""


def make_anew(
    runner: Any, mine: Mapping[str, list[Any]], theirs: Mapping[str, list[Any]], before: Mapping[str, Any]
) -> str:
    """Give the groups what the config says for this point of the run; says in words what they have now.

    Args:
        runner: A runner that stands where the checkpoint stood.
        mine: Its schedulers.
        theirs: The states of the checkpoint's; what they steered goes back to the optimizer's own value first.
        before: `settings` of the optimizer before it took over the checkpoint.
    """
    names = {str(state.get("param_name", "lr")) for group in theirs.values() for state in group}
    for name, groups in _groups(runner.optim_wrapper).items():
        kept = before.get(name, [])
        for group, old in zip(groups, kept if len(kept) == len(groups) else (), strict=False):
            group.update({key: old[key] for key in names if key in old})
    schedulers = [scheduler for group in mine.values() for scheduler in group]
    if not schedulers:
        return f"{_words(names)} what the optimizer's config says, and stays so"
    movable = [scheduler for scheduler in schedulers if hasattr(scheduler, "seek")]
    for scheduler in movable:
        scheduler.seek(_steps(runner, scheduler))
    names.update(scheduler.param_name for scheduler in movable)
    if len(movable) < len(schedulers):
        fixed = ", ".join(type(scheduler).__name__ for scheduler in schedulers if scheduler not in movable)
        return f"{_words(names)} what this config says, but {fixed} cannot be moved on and begins anew"
    return f"{_words(names)} what the schedulers of this config give at iteration {runner.finished_iters}"


def _words(names: set[str]) -> str:
    return f"the {', '.join('learning rate' if name == 'lr' else name for name in sorted(names) or ['lr'])} is"


def _steps(runner: Any, scheduler: Any) -> int:
    if scheduler.by_epoch:
        return int(runner.finished_epochs)
    if getattr(scheduler, "unit", None) == "step":
        return int(runner.finished_iters) // int(getattr(runner.optim_wrapper, "accumulative_counts", 1) or 1)
    return int(runner.finished_iters)
