"""Where a rank is, read from the stack of its main thread when somebody asks: the run itself writes nothing down."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from traceback import walk_tb
from types import FrameType
from typing import Any

__all__ = ["Whereabouts", "describe_places", "doing"]

KNOWN = {
    ("seg_runner.loop.train", "next_batch"): "reading the training batch",
    ("seg_runner.loop.train", "step"): "in the training step",
    ("seg_runner.loop.train", "validate"): "in validation",
    ("seg_runner.loop.evaluate", "run"): "in validation or test",
    ("seg_runner.loop.evaluate", "_metrics"): "computing metrics",
    ("seg_runner.distributed.agreement", "ask"): "asking the other ranks whether to stop",
    ("seg_runner.distributed.world", "first"): "waiting for rank 0",
    ("seg_runner.hooks.table", "__call__"): "in a hook",
    ("seg_runner.checkpoint.checkpoints", "save"): "saving",
    ("seg_runner.checkpoint.saver", "wait"): "saving",
    ("seg_runner.runner", "_prepare_training"): "before the first step",
    ("seg_runner.assembly.base_runner", "__init__"): "building the run",
}
"""Functions, and what a rank does that is in one of them; the innermost counts."""
STUCK = 5.0
"""Seconds in one place after which a rank tells of its last exchanges, too."""
SHOWN = 6
"""Calls of the stack that are shown."""


def doing(frames: Iterable[FrameType]) -> str:
    """Return in words what a thread does that is in these calls, the innermost first; empty where that is not known."""
    for each in frames:
        words = KNOWN.get((each.f_globals.get("__name__", ""), each.f_code.co_name))
        if words is not None:
            return words
    return ""


class Whereabouts:
    """Where the main thread of this rank is, and for how long it has been doing that.

    Args:
        run: Whatever has `iter`, the finished iterations; None before there is a runner.
    """

    def __init__(self, run: object = None) -> None:
        self.run = run
        self._at: tuple[int, str] | None = None
        self._since = time.monotonic()

    def look(self, error: BaseException | None = None) -> dict[str, Any]:
        """Return iteration, what is being done (or was, where an error came), for how many seconds, innermost calls."""
        if error is None:
            frames = list(_outwards(sys._current_frames().get(threading.main_thread().ident or 0)))
        else:
            frames = [frame for frame, _ in walk_tb(error.__traceback__)][::-1]
        at = int(getattr(self.run, "iter", 0)), doing(frames)
        if at != self._at:
            self._at, self._since = at, time.monotonic()
        calls = [f"{each.f_code.co_filename}:{each.f_lineno} {each.f_code.co_name}" for each in frames]
        since = round(time.monotonic() - self._since, 1)
        place = {"iter": at[0], "doing": at[1], "since": since, "calls": calls[:SHOWN], "time": time.time()}
        if error is not None or since > STUCK:
            place["exchanges"] = last_exchanges()
        return place


def last_exchanges() -> list[str]:
    """Return in words the last collective of each process group, as torch's flight recorder has them."""
    from torch._C import _distributed_c10d as recorded

    dump = getattr(recorded, "_dump_nccl_trace_json", getattr(recorded, "_dump_fr_trace_json", None))
    try:
        entries = json.loads(dump())["entries"] if dump is not None else []
    except (RuntimeError, ValueError, KeyError):  # it is switched off
        return []
    last = {entry["process_group"][0]: entry for entry in entries}
    lines = []
    for group, entry in last.items():
        state = f", {entry['state']}" if entry["profiling_name"].startswith("nccl") else ""  # gloo keeps no state
        number = entry["p2p_seq_id"] if entry["is_p2p"] else entry["collective_seq_id"]
        sizes = ", ".join("x".join(map(str, size)) for size in entry["input_sizes"])
        what = f"{entry['profiling_name']} of {sizes or 'nothing'}"
        lines.append(f"last exchange: {what}: number {number} of group {group}{state}")
    return lines


def describe_places(places: Sequence[str | None], rank: int) -> str:
    """Return lines that say where each rank was last.

    Args:
        places: Of each rank what `Whereabouts.look` gave, as JSON; None where it has told nothing.
        rank: The rank that asks.
    """
    lines = []
    for number, text in enumerate(places):
        if text is None:
            lines.append(f"rank {number}: has not told where it is")
            continue
        place = json.loads(text)
        what = f"iteration {place['iter']}" + (f", {place['doing']}" if place["doing"] else "")
        age = max(time.time() - place["time"], 0.0)
        which = f"rank {number} (this one)" if number == rank else f"rank {number}"
        lines.append(f"{which}: {what}, for {place['since'] + age:.0f} s")
        lines += [f"    {line}" for line in [*place.get("exchanges", ()), *place["calls"]]]
    return "\n".join(lines)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
