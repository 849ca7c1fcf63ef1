"""Who started this process: its rank, how many there are, and where they meet, out of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ALONE", "Launch", "find_launch"]


@dataclass(frozen=True)
class Launch:
    """How a process was started.

    Attributes:
        rank: Its number among all, from 0.
        size: How many there are.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine; 0 where nobody says.
        says: The variable that tells it, and who sets that: for messages. Empty where there is one process.
        address: The machine of rank 0, where known.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    says: str = ""
    address: str = ""


ALONE = Launch()

VARIABLES = (  # number, how many, number on the machine, how many there, who sets them
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "torchrun"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
     "mpirun"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE", "mpirun"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "mpiexec"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_LOCAL_SIZE", "jsrun"),
)  # fmt: skip


def find_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Return how this process was started, as its environment tells it; `ALONE` where it tells of one process.

    In the shell of a Slurm job SLURM_NTASKS is what was asked for; only srun starts so many processes, as a step.

    >>> find_launch({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}).says
    'WORLD_SIZE=2, as torchrun sets it'
    >>> find_launch({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "17"})
    Launch(rank=0, size=1, local_rank=0, local_size=1, says='', address='')
    """
    variables = os.environ if environment is None else environment
    for number, size, local, local_size, launcher in VARIABLES:
        if (count := _whole(variables.get(size))) > 1 and number in variables:
            rank = _whole(variables.get(number))
            there = _whole(variables.get(local)) if local in variables else rank
            says = f"{size}={count}, as {launcher} sets it"
            return Launch(rank, count, there, _whole(variables.get(local_size)), says)
    size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in variables else "SLURM_NTASKS"
    if (count := _whole(variables.get(size))) > 1 and _in_step(variables):
        rank, says = _whole(variables.get("SLURM_PROCID")), f"{size}={count}, as srun sets it"
        tasks = variables.get("SLURM_STEP_TASKS_PER_NODE", variables.get("SLURM_TASKS_PER_NODE", ""))
        there = _whole(tasks.split("(")[0].split(",")[0])
        return Launch(rank, count, _whole(variables.get("SLURM_LOCALID")), there, says, _first_node(variables))
    return ALONE


def _in_step(variables: Mapping[str, str]) -> bool:
    """Tell whether srun started this process, and no job script or shell, whose steps have special numbers."""
    step = variables.get("SLURM_STEP_ID", variables.get("SLURM_STEPID"))
    alone = variables.get("ENVIRONMENT") == "BATCH" if step is None else _whole(step) >= 2**32 - 16
    return _whole(variables.get("SLURM_PROCID")) > 0 or ("SLURM_PROCID" in variables and not alone)


def _first_node(variables: Mapping[str, str]) -> str:
    """Return the first machine of a Slurm list such as `gpu[03-05,9],login1`.

    >>> _first_node({"SLURM_NODELIST": "gpu[03-05,9],login1"}), _first_node({"SLURM_NODELIST": "a,b"})
    ('gpu03', 'a')
    """
    listed = variables.get("SLURM_STEP_NODELIST", variables.get("SLURM_NODELIST", ""))
    name, bracket, inside = listed.partition("[")
    if not bracket or "," in name:
        return listed.split(",")[0]
    first = inside.partition("]")[0].split(",")[0].split("-")[0]
    return f"{name}{first}{inside.partition(']')[2].split(',')[0]}"


def _whole(text: str | None) -> int:
    """Return a variable as a number; 0 where it is none."""
    return int(text) if text is not None and text.strip().isdecimal() else 0
