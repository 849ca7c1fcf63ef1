"""Processes that train configs: one handles many, and one that dies, or takes too long, costs its config alone."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["rows"]

SCRIPT = Path(__file__).with_name("moves_run.py")
EACH = 80  # configs, after which a process makes room: what libraries keep adds up
Row = dict[str, Any]


def rows(names: Sequence[str], *, steps: int, jobs: int, limit: float) -> Iterator[Row]:
    """Give a row for each config, in the order in which they end.

    Args:
        names: Their paths.
        steps: How many are trained.
        jobs: How many processes.
        limit: Seconds of one config, after which it counts as failed.
    """
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
    for name in [*names, *[None] * jobs]:
        waiting.put(name)
    threads = [threading.Thread(target=_work, args=(waiting, done, steps, limit), daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    running = jobs
    while running:
        row = done.get()
        if row is None:
            running -= 1
        else:
            yield row


def _work(waiting: Any, done: Any, steps: int, limit: float) -> None:
    worker: Worker | None = None
    try:
        while (name := waiting.get()) is not None:
            if worker is None or worker.count == EACH or not worker.alive:
                if worker is not None:
                    worker.end()
                worker = Worker(steps)
            done.put(worker.ask(name, limit))
    finally:
        if worker is not None:
            worker.end()
        done.put(None)


class Worker:
    """A process of `moves_run.py`.

    Args:
        steps: How many steps it trains each config.
    """

    def __init__(self, steps: int) -> None:
        command = [sys.executable, str(SCRIPT), "--steps", str(steps)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.count = 0

    @property
    def alive(self) -> bool:
        """Tell whether it can be asked."""
        return self.process.poll() is None

    def ask(self, name: str, limit: float) -> Row:
        """Return the row of a config; "failed" where the process died of it, or was ended after `limit` seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.count += 1
        timer = threading.Timer(limit, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(f"{name}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except OSError:
            answer = ""
        late = not timer.is_alive()
        timer.cancel()
        if answer:
            row: Row = json.loads(answer)
            return row
        code = self.process.wait()
        reason = f"not done after {limit:g} seconds" if late else f"its process ended with code {code}"
        return {"config": name, "family": name.partition("/")[0], "kind": "failed", "reason": reason, "seconds": 0}

    def end(self) -> None:
        """Let it end."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what was not written to a process that has died
                pipe.close()
        self.process.wait()
