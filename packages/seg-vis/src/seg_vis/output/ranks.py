"""Which process of a distributed run draws and writes: the first."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["first_process", "first_process_only", "launched_rank"]

Method = TypeVar("Method", bound=Callable[..., Any])


def first_process() -> bool:
    """Tell whether this is rank 0, or nothing is distributed; torch is looked at only if somebody imported it.

    Before there is a process group, the variables of the launcher tell it: torchrun's, those of MPI, Slurm's.
    """
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return launched_rank(os.environ) == 0


def launched_rank(variables: Mapping[str, str]) -> int:
    """Return the number of this process as its launcher tells it; 0 where there is none.

    In the shell of a Slurm job SLURM_NTASKS is what was asked for; only srun starts so many processes, as a step.

    >>> launched_rank({"RANK": "3"}), launched_rank({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}), launched_rank({})
    (3, 2, 0)
    """
    for name in ("RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMI_RANK", "JSM_NAMESPACE_RANK"):
        if name in variables:
            return _whole(variables[name])
    tasks = variables.get("SLURM_STEP_NUM_TASKS", variables.get("SLURM_NTASKS"))
    return _whole(variables.get("SLURM_PROCID")) if _whole(tasks) > 1 else 0


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.strip().isdecimal() else 0


def first_process_only(method: Method) -> Method:
    """Do nothing on other ranks; methods that return the object itself still do, so that calls can be chained."""

    @functools.wraps(method)
    def guarded(self: object, *args: object, **kwargs: object) -> Any:
        if first_process():
            return method(self, *args, **kwargs)
        return self if method.__name__.startswith("draw_") else None

    return guarded  # type: ignore[return-value]
