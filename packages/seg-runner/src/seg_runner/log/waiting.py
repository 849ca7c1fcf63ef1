"""Whether training waits for its data, and which part of a sample costs most: said once."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from seg_runner.process.threads import usable_cores

__all__ = ["DataWaits"]

LOG = logging.getLogger("seg_runner")

SHARE = 0.2
"""Iterations that wait for less than this share of their time are left alone."""
LEAST = 0.01
"""Seconds: a shorter wait an iteration is the cost of fetching a batch at all."""
PARTS = 3
"""So many parts of a sample are named."""


class DataWaits:
    """Looks at the means that a log line shows, and says once that iterations wait for data, if they do.

    The first line of a session says nothing: its steps waited for the workers' start.
    """

    def __init__(self) -> None:
        self._lines = 0

    def look(self, values: Mapping[str, Any], loader: object, ranks: int = 1) -> None:
        """Look at one line.

        Args:
            values: `time` and `data_time`, seconds of an iteration.
            loader: What training reads from.
            ranks: Processes of this machine, which share its cores.
        """
        if self._lines < 0:
            return
        self._lines += 1
        whole, waited = values.get("time"), values.get("data_time")
        if self._lines == 1 or not isinstance(whole, float) or not isinstance(waited, float):
            return
        if waited >= max(SHARE * whole, LEAST):
            self._lines = -1
            LOG.info("%s", about_waiting(whole, waited, loader, max(usable_cores() // max(ranks, 1), 1)))


def about_waiting(whole: float, waited: float, loader: object, cores: int) -> str:
    """Say how long iterations wait, what a sample's time goes into, and how many workers would read fast enough.

    Args:
        whole: Seconds of an iteration.
        waited: Seconds of it until the batch was there.
        loader: What training reads from. Its data set may have `seconds_of_a_sample()`: seconds by part.
        cores: Cores for this process and its workers.
    """
    text = f"iterations wait {100 * waited / whole:.0f} % of their time for data ({waited:.3f} of {whole:.3f} s)"
    find = getattr(getattr(loader, "dataset", None), "seconds_of_a_sample", None)
    parts: dict[str, float] = find() if callable(find) else {}
    total = sum(parts.values())
    if parts:
        costly = sorted(parts.items(), key=lambda part: -part[1])[:PARTS]
        named = ", ".join(f"{name} {1e3 * spent:.0f}" for name, spent in costly)
        text += f"; of a sample's {1e3 * total:.0f} ms these take most: {named}"
    workers = getattr(loader, "num_workers", None)
    if not isinstance(workers, int):
        return text
    batch = getattr(loader, "batch_size", None) or 1
    enough = math.ceil(batch * total / max(whole - waited, 1e-6)) if parts else cores
    wanted, there = min(max(enough, 1), cores), f"{cores} core{'s' * (cores != 1)}"
    if wanted > workers:
        return f"{text}; num_workers={wanted} instead of {workers} would shorten that ({there})"
    return f"{text}; more workers than {workers} do not help with {there}"
