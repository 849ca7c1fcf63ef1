"""What TrainState can be given, checked before anything is made on the disk; and the folders of a run."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from seg_hooks.checks import folder, near
from seg_hooks.hook import Hook
from seg_hooks.hooks.ema import EMAHook
from seg_hooks.hooks.iter_timer import IterTimerHook
from seg_hooks.hooks.runtime_info import RuntimeInfoHook
from seg_hooks.processes import is_distributed

__all__ = [
    "existing_file",
    "instance",
    "iterable",
    "make_folder",
    "parts",
    "refuse_several",
    "schedulers",
    "session_folder",
    "with_defaults",
]

OWN = "TrainState"
SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE")
"""What launchers (torchrun, mpirun, mpiexec, jsrun) tell each process: how many there are."""


def instance(name: str, value: Any, wanted: type) -> Any:
    """`value` if it is a module or an optimizer, as is `wanted`."""
    if not isinstance(value, wanted):
        kind = {nn.Module: "torch.nn.Module", torch.optim.Optimizer: "torch.optim.Optimizer"}[wanted]
        raise TypeError(f"{OWN}: {name}={value!r} is a {type(value).__name__}; give a {kind}.")
    return value


def with_defaults(hooks: Any) -> list[Any]:
    """The hooks, and those that every run needs where they are missing, before hooks of the same priority."""
    if isinstance(hooks, str | Mapping) or not isinstance(hooks, Iterable):
        raise TypeError(f"{OWN}: hooks={hooks!r} is a {type(hooks).__name__}; give a list: hooks=[EMAHook(), ...].")
    given = list(hooks)
    if sum(isinstance(hook, EMAHook) for hook in given) > 1:
        raise ValueError(f"{OWN}: hooks holds two EMAHooks; only one average can be validated and saved.")
    needed: list[type[Hook]] = [RuntimeInfoHook, IterTimerHook]
    return [*(kind() for kind in needed if not any(isinstance(hook, kind) for hook in given)), *given]


def schedulers(given: Any) -> list[Any]:
    """A list of schedulers; one alone is taken too."""
    found = [given] if hasattr(given, "step") else given
    if isinstance(found, str | Mapping) or not isinstance(found, Iterable):
        raise TypeError(f"{OWN}: schedulers={given!r} is a {type(given).__name__}; give a list of schedulers.")
    found = list(found)
    for one in found:
        _must_have_state("schedulers", one)
    return found


def parts(given: Any) -> dict[str, Any]:
    """Parts with a state, by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{OWN}: extra={given!r} is a {type(given).__name__}; give a dict: extra={{'scaler': scaler}}.")
    for name, part in given.items():
        _must_have_state(f"extra[{name!r}]", part)
    return {str(name): part for name, part in given.items()}


def _must_have_state(name: str, part: Any) -> None:
    if not all(callable(getattr(part, method, None)) for method in ("state_dict", "load_state_dict")):
        raise TypeError(f"{OWN}: {name}: {part!r} has no state_dict and load_state_dict, so it cannot be saved.")


def refuse_several(environment: Mapping[str, str] | None = None) -> None:
    """RuntimeError where this is one of several processes: each would train alone, over the files of the others."""
    given = os.environ if environment is None else environment
    several = [f"{name}={given[name]}" for name in SIZES if _whole(given.get(name)) > 1]
    size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in given else "SLURM_NTASKS"
    if _whole(given.get(size)) > 1 and _in_step(given):
        several.append(f"{size}={given[size]}")
    if is_distributed() and (count := distributed.get_world_size()) > 1:
        several.insert(0, f"a process group of {count}")
    if several:
        raise RuntimeError(
            f"{OWN} works in one process, and here are several ({several[0]}): each would train alone, and they would "
            "overwrite one another's files. Start one process (without torchrun, mpirun or srun -n), or unset these "
            "variables where they are left over from elsewhere."
        )


def _in_step(given: Mapping[str, str]) -> bool:
    """Whether srun started this process, and no job script or shell, whose steps have special numbers."""
    step = given.get("SLURM_STEP_ID", given.get("SLURM_STEPID"))
    alone = given.get("ENVIRONMENT") == "BATCH" if step is None else _whole(step) >= 2**32 - 16
    return _whole(given.get("SLURM_PROCID")) > 0 or ("SLURM_PROCID" in given and not alone)


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.strip().isdecimal() else 0


def iterable(loader: Any) -> None:
    """TypeError for what gives no batches."""
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise TypeError(f"{OWN}.batches: loader={loader!r} is a {type(loader).__name__}; give a DataLoader or a list.")


def make_folder(work_dir: Any) -> Path:
    """The folder of the run, made where it is not there."""
    path = folder(OWN, "work_dir", work_dir)
    if path is None:
        raise TypeError(f"{OWN}: work_dir=None is a NoneType; give a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise ValueError(f"{OWN}: work_dir={str(work_dir)!r} is no name of a folder: {error}.") from error
    except OSError as error:
        error.add_note(f"{OWN}: work_dir={str(work_dir)!r} cannot be made; give a folder that can be written.")
        raise
    return path


def session_folder(work_dir: Path) -> Path:
    """A new folder for this session's logs, named after the moment."""
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    for name in itertools.chain([stamp], (f"{stamp}_{number}" for number in itertools.count(2))):
        try:
            (work_dir / name).mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            error.add_note(f"{OWN}: work_dir={str(work_dir)!r} cannot be written; give a folder that can.")
            raise
        return work_dir / name
    raise AssertionError("the names never end")


def existing_file(path: Any, work_dir: Path) -> Path:
    """A checkpoint by its path, or by its name in the run's folder."""
    if not isinstance(path, str | Path):
        raise TypeError(f"{OWN}.resume: path={path!r} is a {type(path).__name__}; give a checkpoint file or None.")
    for candidate in (Path(path), work_dir / path):
        if candidate.is_file():
            return candidate
    known = [str(one) for one in work_dir.glob("*.pth")]
    hint = near(str(work_dir / path), known) or near(str(path), known)
    raise FileNotFoundError(f"{OWN}.resume: there is no file {str(path)!r}.{hint}")
