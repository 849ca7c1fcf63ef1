"""How many threads torch computes with on a CPU: one rule for every command, and the words that say what it chose."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["MOST_THREADS", "set_threads", "told_threads", "usable_cores"]

CHOSEN_BY_USERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What a user, or a launcher such as torchrun, tells OpenMP; torch has read it when it was imported."""
CPUS = Path("/sys/devices/system/cpu")
GROUPS = Path("/sys/fs/cgroup")
MOST_THREADS = 4096
"""No machine computes with more; where the system refuses so many, OpenMP ends the process without a word of why."""


def set_threads(told: int | None = None, processes: int = 1, exact: bool = False) -> str:
    """Set torch's threads; returns how many there are and why, for the log.

    The first of these that applies:

    1. `told`, from the config (`env_cfg.mp_cfg.torch_num_threads`);
    2. what the environment says (`OMP_NUM_THREADS`, which torchrun sets to 1 where it starts several processes);
    3. a number that the program has set by `torch.set_num_threads`;
    4. 1 in an exact run, whose sums would depend on the number;
    5. a thread for each core that the process may use, shared by the processes of the run on this machine.

    Workers of loaders get no share: they compute little of the time, and a run that leaves a core to each of them is
    slower than one whose threads wait for it now and then (`./run bench threads`). Where cores are taken for longer,
    `seg_runner.process.giving_way` sees to it that waiting costs little.

    Args:
        told: What the config says.
        processes: The processes of the run on this machine.
        exact: Whether the run is to give the same numbers on any machine.
    """
    variable = next((name for name in CHOSEN_BY_USERS if _is_number(os.environ.get(name, ""))), None)
    now, cores = torch.get_num_threads(), usable_cores()
    number = 1 if exact else max(1, cores // max(processes, 1))
    if told is not None:
        number, why = told, "env_cfg.mp_cfg.torch_num_threads"
    elif variable is not None:
        number, why = now, variable
    elif now != number and now not in _torchs_own():
        number, why = now, "set by the program"
    elif exact:
        why = "world='exact'; OMP_NUM_THREADS sets another number, the same for all"
    else:
        why = f"cores: {cores}" + (f", processes: {processes}" if processes > 1 else "")
    if number != now:
        torch.set_num_threads(number)
    return f"{number} ({why})"


def _is_number(text: str) -> bool:
    """Tell whether OpenMP takes a number of threads from this; what it does not take counts as not there.

    >>> _is_number("4"), _is_number("4,2"), _is_number("0"), _is_number("all"), _is_number("")
    (True, True, False, False, False)
    """
    first = text.partition(",")[0].strip()
    return first.isdecimal() and int(first) > 0


def told_threads(env_cfg: Mapping[str, Any] | None) -> int | None:
    """Return the number of threads in a config's `env_cfg`, which `set_up_process` has checked; None without one.

    >>> told_threads({"mp_cfg": {"torch_num_threads": 4}}), told_threads(None)
    (4, None)
    """
    told = ((env_cfg or {}).get("mp_cfg") or {}).get("torch_num_threads")
    return None if told is None else int(told)


def usable_cores() -> int:
    """Count the cores that this process may keep busy.

    Two hardware threads of a core count once, as they share what computes. Affinity counts (`taskset`, Slurm), and so
    does the time that a container may use: `docker --cpus 2` on 64 cores is 2.
    """
    quota = _time_allowed(GROUPS, Path("/proc/self/cgroup"))
    return max(1, min(_whole_cores(_allowed()), math.ceil(quota) if quota < math.inf else 1 << 20))


def _torchs_own() -> set[int]:
    """Return the numbers that torch itself comes to: of whole cores, or of hardware threads."""
    allowed = _allowed()
    return {_whole_cores(allowed), len(allowed), os.cpu_count() or 1}


def _allowed() -> set[int]:
    """Return the numbers of the hardware threads that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _whole_cores(allowed: set[int], cpus: Path = CPUS) -> int:
    """Count the cores of these hardware threads."""
    return len({_text(cpus / f"cpu{number}/topology/thread_siblings_list") or str(number) for number in allowed})


def _time_allowed(root: Path, told: Path) -> float:
    """Return how many cores' time the control groups of this process leave it; infinite where there is no limit.

    Args:
        root: Where control groups are mounted, of version 2 or 1.
        told: The file that names the groups of this process.
    """
    least = math.inf
    for line in _text(told).splitlines():
        number, kinds, path = line.split(":", 2)
        if number != "0" and "cpu" not in kinds.split(","):
            continue
        base = root if number == "0" else root / kinds
        folder = base / path.strip("/")
        for group in (folder, *folder.parents):  # each group is bounded by those above it, too
            least = min(least, _limit(group))
            if group == base:
                break
    return least


def _limit(group: Path) -> float:
    """Return the limit of one control group, in cores."""
    words = (_text(group / "cpu.max") or _text(group / "cpu.cfs_quota_us")).split()
    period = words[1:] or _text(group / "cpu.cfs_period_us").split()
    if not words or not period or not words[0].isdecimal():  # 'max' and -1 are no limit
        return math.inf
    return int(words[0]) / int(period[0])


def _text(path: Path) -> str:
    """Return the text of a file, empty where there is none or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
