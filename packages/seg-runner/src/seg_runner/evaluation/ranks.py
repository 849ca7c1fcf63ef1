"""The other processes of a run: how many there are, sums over all ranks, and which samples are padding."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from seg_runner.process.device import pick_device

__all__ = ["PaddingFilter", "rank_and_world", "refuse_several", "started_as", "sum_over_ranks"]

LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "torchrun"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "mpirun"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "mpirun"),
    ("PMI_RANK", "PMI_SIZE", "mpiexec"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "jsrun"),
)
"""What launchers tell each process: its number, how many there are."""

Sample = TypeVar("Sample")


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) where nothing is distributed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def started_as(environment: Mapping[str, str] | None = None) -> tuple[int, int, str]:
    """Return this process's rank, the number of processes, and who says so: the process group, else the environment.

    In the shell of a Slurm job SLURM_NTASKS is what was asked for; only srun starts so many processes, as a step.

    >>> started_as({"RANK": "1", "WORLD_SIZE": "2"})
    (1, 2, 'WORLD_SIZE=2, as torchrun sets it')
    >>> started_as({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "17"})
    (0, 1, '')
    """
    rank, world = rank_and_world()
    if world > 1:
        return rank, world, "an initialised process group"
    variables = os.environ if environment is None else environment
    for number, size, launcher in LAUNCHERS:
        if (count := _whole(variables.get(size))) > 1:
            return _whole(variables.get(number)), count, f"{size}={count}, as {launcher} sets it"
    size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in variables else "SLURM_NTASKS"
    if (count := _whole(variables.get(size))) > 1 and _in_step(variables):
        return _whole(variables.get("SLURM_PROCID")), count, f"{size}={count}, as srun sets it"
    return rank, world, ""


def _in_step(variables: Mapping[str, str]) -> bool:
    """Tell whether srun started this process, and no job script or shell, whose steps have special numbers."""
    step = variables.get("SLURM_STEP_ID", variables.get("SLURM_STEPID"))
    alone = variables.get("ENVIRONMENT") == "BATCH" if step is None else _whole(step) >= 2**32 - 16
    return _whole(variables.get("SLURM_PROCID")) > 0 or ("SLURM_PROCID" in variables and not alone)


def _whole(text: str | None) -> int:
    """Return a variable as a number; 0 where it is none."""
    return int(text) if text is not None and text.strip().isdecimal() else 0


def refuse_several(what: str) -> None:
    """Refuse to be one of several processes, each of which would train alone, over the files of the others.

    Raises:
        RuntimeError: the process group or the environment says that there are several.
    """
    rank, world, why = started_as()
    if world > 1:
        raise RuntimeError(
            f"{what} works in one process, but this is number {rank + 1} of {world} ({why}): each would work "
            "on its own, and they would overwrite one another's files. Start one process (without torchrun, mpirun or "
            "srun -n), or unset these variables if another program left them"
        )


def sum_over_ranks(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the element-wise sum over all ranks, the same everywhere; the values themselves with one process."""
    if rank_and_world()[1] == 1:
        return values
    on_cpu = torch.distributed.get_backend() in ("gloo", "mpi")  # others send between accelerators only
    total = torch.from_numpy(np.array(values)).to("cpu" if on_cpu else pick_device())
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()


class PaddingFilter(Generic[Sample]):
    """Leaves out the samples that only pad a data set, by keeping a rank's last one until it is known what it is.

    Samplers give every rank the same number of samples and repeat some for that. Rank r's k-th sample is number
    k * world + r of the data set, so at most the last one of a rank can be a repetition.

    Args:
        take: is called with each sample that counts, in order.
    """

    def __init__(self, take: Callable[[Sample], None]) -> None:
        self._take = take
        self._kept: list[Sample] = []
        self.seen = 0
        self._rank, self._world = 0, 1

    def add(self, sample: Sample) -> None:
        """Hand over a sample; with one process it counts at once."""
        if not self.seen:
            self._rank, self._world = rank_and_world()
        self.seen += 1
        if self._world == 1:
            self._take(sample)
            return
        if self._kept:
            self._take(self._kept.pop())
        self._kept.append(sample)

    def finish(self, size: int) -> int:
        """Count the sample that was kept, unless its number is beyond the `size` of the data set; begin anew.

        Returns:
            How many samples were seen, on all ranks together.
        """
        if self._kept and (self.seen - 1) * self._world + self._rank < size:
            self._take(self._kept[0])
        self._kept.clear()
        seen, self.seen = self.seen, 0
        return int(sum_over_ranks(np.array(seen)))
