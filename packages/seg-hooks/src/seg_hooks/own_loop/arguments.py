"""The arguments of TrainState, checked before anything is made on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from seg_hooks.checks import did_you_mean, folder, has_state
from seg_hooks.hooks.ema import EMAHook
from seg_hooks.hooks.runtime_info import RuntimeInfoHook
from seg_hooks.hooks.timing import IterTimerHook
from seg_hooks.own_loop.points import in_order
from seg_hooks.protocols import Stateful

__all__ = ["Parts", "check_parts", "existing_file", "iterable", "make_folder"]

OWN = "TrainState"


@dataclass
class Parts:
    """The objects that a run is made of."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedulers: list[Stateful]
    extra: dict[str, Stateful]
    hooks: list[object]


def check_parts(model: object, optimizer: object, schedulers: object, extra: object, hooks: object) -> Parts:
    """Return the objects of a run, the hooks in their order and with those that every run needs."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{OWN}: model={model!r} is a {type(model).__name__}; give a torch.nn.Module.")
    if not isinstance(optimizer, torch.optim.Optimizer):
        kind = type(optimizer).__name__
        raise TypeError(f"{OWN}: optimizer={optimizer!r} is a {kind}; give a torch.optim.Optimizer.")
    return Parts(model, optimizer, _schedulers(schedulers), _extra(extra), in_order(_with_defaults(hooks)))


def _with_defaults(hooks: object) -> list[object]:
    """Return the hooks, and those that every run needs where they are missing, before hooks of the same priority."""
    if isinstance(hooks, str | Mapping) or not isinstance(hooks, Iterable):
        raise TypeError(f"{OWN}: hooks={hooks!r} is a {type(hooks).__name__}; give a list: hooks=[EMAHook(), ...].")
    own = list(hooks)
    if sum(isinstance(hook, EMAHook) for hook in own) > 1:
        raise ValueError(f"{OWN}: hooks holds two EMAHooks; only one average can be validated and saved.")
    needed = (RuntimeInfoHook, IterTimerHook)
    return [*(kind() for kind in needed if not any(isinstance(hook, kind) for hook in own)), *own]


def _schedulers(schedulers: object) -> list[Stateful]:
    """Return a list of schedulers; one alone is taken too."""
    found = [schedulers] if hasattr(schedulers, "step") else schedulers
    if isinstance(found, str | Mapping) or not isinstance(found, Iterable):
        kind = type(schedulers).__name__
        raise TypeError(f"{OWN}: schedulers={schedulers!r} is a {kind}; give a list of schedulers.")
    return [_with_state("schedulers", one) for one in found]


def _extra(extra: object) -> dict[str, Stateful]:
    """Return parts with a state, by name."""
    if extra is None:
        return {}
    if not isinstance(extra, Mapping):
        raise TypeError(f"{OWN}: extra={extra!r} is a {type(extra).__name__}; give a dict: extra={{'scaler': scaler}}.")
    return {str(name): _with_state(f"extra[{name!r}]", part) for name, part in extra.items()}


def _with_state(name: str, part: object) -> Stateful:
    if has_state(part):
        return part
    raise TypeError(f"{OWN}: {name}: {part!r} has no state_dict and load_state_dict, so it cannot be saved.")


def iterable(loader: object) -> None:
    """Refuse what gives no batches."""
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise TypeError(f"{OWN}.batches: loader={loader!r} is a {type(loader).__name__}; give a DataLoader or a list.")


def make_folder(work_dir: object) -> Path:
    """Make the folder of the run, where it is not there yet."""
    path = folder(OWN, "work_dir", work_dir)
    if path is None:
        raise TypeError(f"{OWN}: work_dir=None; give a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise ValueError(f"{OWN}: work_dir={str(work_dir)!r} is not a valid folder name: {error}.") from error
    except OSError as error:
        error.add_note(f"{OWN}: work_dir={str(work_dir)!r} cannot be created; give a writable folder.")
        raise
    return path


def existing_file(path: object, work_dir: Path) -> Path:
    """Find a checkpoint by its path, or by its name in the run's folder."""
    if not isinstance(path, str | Path):
        raise TypeError(f"{OWN}.resume: path={path!r} is a {type(path).__name__}; give a checkpoint file or None.")
    for candidate in (Path(path), work_dir / path):
        if candidate.is_file():
            return candidate
    known = [str(one) for one in work_dir.glob("*.pth")]
    hint = did_you_mean(str(work_dir / path), known) or did_you_mean(str(path), known)
    raise FileNotFoundError(f"{OWN}.resume: there is no file {str(path)!r}.{hint}")
