"""Who started this process: its rank, how many there are, and where they meet, out of the environment."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ALONE", "Launch", "find_launch", "refuse_alone"]

PORT = 29500
"""Where ranks meet when the launcher does not say it: torch's number."""


@dataclass(frozen=True)
class Launch:
    """How a process was started.

    Attributes:
        rank: Its number among all, from 0.
        size: How many there are.
        local_rank: Its number on this machine; -1 where nobody says.
        local_size: How many there are on this machine; 0 where nobody says.
        says: The variable that tells it, and who sets that: for messages. Empty where there is one process.
        address: The machine of rank 0; empty where nobody knows.
        port: The port there, of which other jobs on that machine have another one.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    says: str = ""
    address: str = ""
    port: int = PORT


ALONE = Launch()

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "torchrun")
MPI = (  # number, how many, number on the machine, how many there, who sets them
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
     "mpirun"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE", "mpirun"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "mpiexec"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_LOCAL_SIZE", "jsrun"),
)  # fmt: skip
MPI_JOBS = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "LSB_JOBID", "PBS_JOBID", "JOB_ID")
"""Variables with a name of the job, the same for all its processes and another one for each job on a machine."""


def find_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Return how this process was started, as its environment tells it; `ALONE` where it tells of one process.

    In the shell of a Slurm job SLURM_NTASKS is what was asked for; only srun starts so many processes, as a step.
    Whoever set variables is believed, torchrun first.

    Args:
        environment: The variables; None: those of this process.

    Raises:
        RuntimeError: The variables say that there are several processes, but not which one this is.

    >>> find_launch({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}).says
    'WORLD_SIZE=2, as torchrun sets it'
    >>> find_launch({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "17"}) == ALONE
    True
    """
    variables = os.environ if environment is None else environment
    if "RANK" in variables and variables.get("WORLD_SIZE", "").isdecimal():
        return _named(TORCHRUN, variables)
    by_mpi = next((names for names in MPI if _whole(variables.get(names[1])) > 1 and names[0] in variables), None)
    by_slurm = _of_slurm(variables)
    if by_mpi is not None:
        found = _named(by_mpi, variables)
        if (found.rank, found.size) != (by_slurm.rank, by_slurm.size):  # else srun's, which knows more
            return found
    if by_slurm == ALONE and (count := _whole(variables.get("WORLD_SIZE"))) > 1:
        raise RuntimeError(
            f"WORLD_SIZE={count} says that there are {count} processes, but RANK, which says which of them this is, is "
            "not set: alone it would wait for the others, or train without them. Start all of them by torchrun, which "
            "sets both, or unset WORLD_SIZE for one process"
        )
    return by_slurm


def refuse_alone(launch: Launch) -> None:
    """Refuse several machines of which nobody says where rank 0 is.

    Raises:
        RuntimeError: there is more than one machine, and no address.
    """
    if not launch.address and 0 < launch.local_size < launch.size:
        raise RuntimeError(
            f"there are {launch.size} processes ({launch.says}) and {launch.local_size} of them on this machine, so "
            "they run on several, and nothing says where rank 0 is: set MASTER_ADDR to the name of its machine on all "
            f"of them (and MASTER_PORT, {launch.port} here, where that port is taken)"
        )


def _named(names: tuple[str, str, str, str, str], variables: Mapping[str, str]) -> Launch:
    """Return what variables of these names say.

    Raises:
        RuntimeError: the number of this process is none of those that there are.
    """
    number, size, local, local_size, launcher = names
    rank, count = _whole(variables.get(number)), _whole(variables.get(size))
    if count <= 1:
        return ALONE
    if rank >= count or not variables[number].strip().isdecimal():
        raise RuntimeError(
            f"{number}={variables[number]} and {size}={count} do not go together: processes are numbered from 0 to "
            f"{count - 1}. Let {launcher} set both, or unset them for one process"
        )
    job = next((variables[name] for name in MPI_JOBS if variables.get(name)), None)
    port = PORT if job is None or names is TORCHRUN else _port(zlib.crc32(job.encode()))
    return Launch(
        rank,
        count,
        _whole(variables.get(local)) if local in variables else -1,
        _whole(variables.get(local_size)),
        f"{size}={count}, as {launcher} sets it",
        variables.get("MASTER_ADDR") or _first_node(variables),
        _whole(variables.get("MASTER_PORT")) or port,
    )


def _of_slurm(variables: Mapping[str, str]) -> Launch:
    """Return what Slurm's variables say; `ALONE` outside a step of several tasks."""
    size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in variables else "SLURM_NTASKS"
    if (count := _whole(variables.get(size))) <= 1 or not _in_step(variables):
        return ALONE
    there = -1 if "SLURM_LOCALID" not in variables else _whole(variables["SLURM_LOCALID"])
    job, step = _whole(variables.get("SLURM_JOB_ID")), _whole(variables.get("SLURM_STEP_ID"))
    return Launch(
        _whole(variables.get("SLURM_PROCID")),
        count,
        there,
        _tasks_here(variables),
        f"{size}={count}, as srun sets it",
        variables.get("MASTER_ADDR") or _first_node(variables),
        _whole(variables.get("MASTER_PORT")) or _port(job + 977 * step),
    )


def _tasks_here(variables: Mapping[str, str]) -> int:
    """Return how many tasks run on this machine, from a list such as `2(x3),1`; 0 where nobody says.

    >>> _tasks_here({"SLURM_STEP_TASKS_PER_NODE": "2(x3),1", "SLURM_NODEID": "3"})
    1
    """
    text = variables.get("SLURM_STEP_TASKS_PER_NODE", variables.get("SLURM_TASKS_PER_NODE", ""))
    counts = [int(tasks) for tasks, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text) for _ in range(int(times or 1))]
    node = _whole(variables.get("SLURM_NODEID"))
    return counts[node] if node < len(counts) else 0


def _in_step(variables: Mapping[str, str]) -> bool:
    """Tell whether srun started this process, and no job script or shell, whose steps have special numbers."""
    step = variables.get("SLURM_STEP_ID", variables.get("SLURM_STEPID"))
    alone = variables.get("ENVIRONMENT") == "BATCH" if step is None else _whole(step) >= 2**32 - 16
    return _whole(variables.get("SLURM_PROCID")) > 0 or ("SLURM_PROCID" in variables and not alone)


def _first_node(variables: Mapping[str, str]) -> str:
    """Return the first machine of a Slurm list such as `gpu[03-05,9],login1`; empty without one.

    >>> _first_node({"SLURM_NODELIST": "gpu[03-05,9],login1"}), _first_node({"SLURM_NODELIST": "a,b"})
    ('gpu03', 'a')
    >>> _first_node({"SLURM_JOB_NODELIST": "rack[1-2]-node[07,09]"})
    'rack1-node07'
    """
    names = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    listed = next((variables[name] for name in names if variables.get(name)), "")
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", listed)
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0]) if first else ""


def _port(number: int) -> int:
    """Return a port for the job of this number, below those that systems give to whoever asks."""
    return 15000 + number % 15000


def _whole(text: str | None) -> int:
    """Return a variable as a number; 0 where it is none."""
    return int(text) if text is not None and text.strip().isdecimal() else 0
