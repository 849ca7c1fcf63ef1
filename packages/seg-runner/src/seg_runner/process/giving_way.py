"""Waiting that gives way: torch's threads spin while cores are free, and sleep while others want the cores.

libgomp, the OpenMP of torch's wheels for Linux, lets a thread that waits for another spin for some time before it
sleeps. With a core for each thread nothing is faster, and a step of a small model has thousands of such waits. Where
other processes want the cores, the thread that all others wait for stands still while they burn its time, and a step
takes many times as long. Threads that always sleep are slower than a single one where nobody else is there
(`./run bench threads` shows all three). And how long to spin can be told before torch is imported only.

But libgomp itself spins for a moment only, as long as it has more threads than there are cores. So a thread of ours
looks once a second how long threads had to wait for a core; where that is long, it keeps teams of threads that sleep,
and tries again without them later. How many threads compute stays the same, and so do all results.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

__all__ = ["giving_way", "longest_delay", "teams_to_hold"]

TASKS = Path("/proc/self/task")
SPINS_AS_TOLD = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
LOOK = 1.0
"""Seconds from one look to the next."""
CROWDED = 0.25
"""Share of the time that some thread was ready and had no core."""
PAUSES = (8.0, 64.0)
"""Seconds of short spins after a first crowded second, and at most; each one is twice as long as the one before."""
MOST_TEAMS = 8
TAKEN = (
    "Something else runs on the cores of torch's {} threads: while it does, they sleep where they wait for one another."
    " If it stays, fewer threads are faster (env_cfg.mp_cfg.torch_num_threads)"
)


@contextmanager
def giving_way(device: torch.device, tell: Callable[[str], None]) -> Iterator[None]:
    """Let torch's threads give way to others within this context, where they compute on a CPU and spin by themselves.

    Args:
        device: Where the model computes.
        tell: Takes the line that is said when the cores are first found taken.
    """
    teams = teams_to_hold(torch.get_num_threads(), _gomps_cores()) if device.type == "cpu" else 0
    if not teams or any(name in os.environ for name in SPINS_AS_TOLD) or not _delays():
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(teams, ended, tell), name="seg: giving way", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def teams_to_hold(threads: int, cores: int) -> int:
    """Return how many sleeping teams, as large as the one that computes, make more threads than there are cores.

    0 where nothing is to be done: one thread waits for nobody, without libgomp there are no such waits, and threads
    that use a small part of the cores seldom meet others.

    >>> teams_to_hold(2, 2), teams_to_hold(8, 16), teams_to_hold(1, 2), teams_to_hold(2, 64), teams_to_hold(2, 0)
    (1, 2, 0, 0, 0)
    """
    if threads < 2 or not cores:
        return 0
    teams = max(0, cores - threads) // (threads - 1) + 1
    return teams if teams <= MOST_TEAMS else 0


def longest_delay(before: dict[str, int], after: dict[str, int]) -> float:
    """Return how long the thread that waited most was ready and had no core, in seconds.

    >>> longest_delay({"7": 10**9, "8": 0}, {"7": 3 * 10**9, "8": 5, "9": 10**10})
    2.0
    """
    return max((after[task] - before[task] for task in after.keys() & before.keys()), default=0) / 1e9


def _gomps_cores() -> int:
    """Return how many cores libgomp counts; 0 where torch computes with another OpenMP, or not on Linux."""
    try:
        loaded = "libgomp" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return len(os.sched_getaffinity(0)) if loaded else 0


def _delays() -> dict[str, int]:
    """Return, for each thread of this process, the nanoseconds that it was ready and had no core."""
    found = {}
    try:
        for task in os.listdir(TASKS):
            try:
                found[task] = int((TASKS / task / "schedstat").read_text(encoding="utf-8").split()[1])
            except (OSError, IndexError):  # that thread has ended
                continue
    except OSError:  # not Linux
        return {}
    return found


def _watch(teams: int, ended: threading.Event, tell: Callable[[str], None]) -> None:
    """Look, again and again, whether the cores are taken; where they are, have libgomp spin for a moment only."""
    pause, (least, most), said = 0.0, PAUSES, False
    while True:
        before, began = _delays(), time.monotonic()
        if ended.wait(LOOK):
            return
        if longest_delay(before, _delays()) < CROWDED * (time.monotonic() - began):
            pause = 0.0
            continue
        pause = min(max(least, 2 * pause), most)
        if not said:
            tell(TAKEN.format(torch.get_num_threads()))
            said = True
        with _teams(teams):
            if ended.wait(pause):
                return


@contextmanager
def _teams(number: int) -> Iterator[None]:
    """Hold teams of threads that have computed a trifle and sleep now."""
    free = threading.Event()
    held = [threading.Thread(target=_hold, args=(free,), name="seg: giving way", daemon=True) for _ in range(number)]
    for each in held:
        each.start()
    try:
        yield
    finally:
        free.set()
        for each in held:
            each.join()


def _hold(free: threading.Event) -> None:
    """Get a team of one's own, by a sum large enough for all threads, and keep it: it ends with this thread."""
    torch.zeros(2**15 * 2 * torch.get_num_threads(), dtype=torch.uint8).add_(1)
    free.wait()
