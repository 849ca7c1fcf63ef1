"""Measuring functions against each other in one process: interleaved, process CPU time, one torch thread."""

from __future__ import annotations

import gc
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from _record import add_table

__all__ = ["block", "cpu_seconds", "differences", "in_process", "paired", "print_table", "ratios"]


def in_process(command: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    """What a fresh process ended with, and its CPU seconds.

    It finds modules compiled, as those of installed packages are, from the second call on.
    """
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=compiled)
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return done, spent


def cpu_seconds(function: Callable[[], object]) -> float:
    """Process CPU time of one call, or what the call says itself if it returns a float (setting up left out)."""
    gc.collect()
    start = time.process_time()
    own = function()
    return own if isinstance(own, float) else time.process_time() - start


def block(function: Callable[[], object], least: float = 0.01) -> Callable[[], float]:
    """A sample of as many calls as fill `least` seconds; it gives the time of one.

    A single short call right after a garbage collection measures cold caches, which the second picture, or the
    second step, of a run does not meet.
    """
    function()
    once = cpu_seconds(function)
    count = math.ceil(least / max(once, 1e-6))

    def sample() -> float:
        start = time.process_time()
        for _ in range(count):
            function()
        return (time.process_time() - start) / count

    return sample


def paired(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each function in each round; every round runs all of them, in turning order, after one warm-up."""
    for function in functions.values():
        function()
    names = list(functions)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(cpu_seconds(functions[name]))
    return found


def ratios(found: dict[str, list[float]], base: str) -> dict[str, float]:
    """Median over the rounds of each function's time over the base's in the same round."""
    return {
        name: statistics.median(own / bare for own, bare in zip(times, found[base], strict=True))
        for name, times in found.items()
    }


def differences(found: dict[str, list[float]], base: str) -> dict[str, float]:
    """Median over the rounds of each function's time less the base's in the same round, in seconds."""
    return {
        name: statistics.median(own - bare for own, bare in zip(times, found[base], strict=True))
        for name, times in found.items()
    }


def print_table(title: str, header: list[str], rows: list[list[str]], figures: dict[str, Any] | None = None) -> None:
    """A small table: first column to the left, the others to the right. `./run bench --record` keeps it.

    `figures`: what the table was made from, kept beside it.
    """
    add_table(title, header, rows, figures)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}")
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells))
