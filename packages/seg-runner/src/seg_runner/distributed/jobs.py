"""Which job a process belongs to: one that may start it again by itself, as torchrun and Slurm's queue do."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Tries", "tries_of"]

Tries = Mapping[str, str]
"""Name of a job -> name of this try of it. Another try of the same job goes on with what the first one has begun."""


def tries_of(environment: Mapping[str, str] | None = None) -> Tries:
    """Return the jobs that this process belongs to.

    A Slurm job has a number, and counts how often it was put back into the queue. Of torchrun, the process on this
    machine is the job: what else it says (`TORCHELASTIC_RUN_ID`, `TORCHELASTIC_RESTART_COUNT`) is the same for other
    jobs, and stays the same where machines come and go.

    >>> tries_of({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "2"})
    {'Slurm job 17': '2'}
    >>> len(tries_of({"TORCHELASTIC_RUN_ID": "none"})), tries_of({})
    (1, {})
    """
    variables = os.environ if environment is None else environment
    found = {}
    if variables.get("SLURM_JOB_ID"):
        cluster = variables.get("SLURM_CLUSTER_NAME", "")
        name = f"Slurm job {variables['SLURM_JOB_ID']}" + (f" of {cluster}" if cluster else "")
        found[name] = variables.get("SLURM_RESTART_COUNT", "0")
    if "TORCHELASTIC_RUN_ID" in variables:
        found[f"torchrun, {_name(os.getppid())}"] = _name(os.getpid())
    return found


def _name(process: int) -> str:
    """Return a name of a process of this machine; no other has it, where the system says when each was started."""
    name = f"process {process} of {socket.gethostname()}"
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return f"{name}, begun at {fields[19]} of {Path('/proc/sys/kernel/random/boot_id').read_text('utf-8').strip()}"
    except (OSError, IndexError, UnicodeDecodeError):
        return name
