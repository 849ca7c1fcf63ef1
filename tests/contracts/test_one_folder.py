"""A Runner and a TrainState of one process in one folder: they share its lock, and the last one gives it back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import seg_hooks.own_loop.lock
import seg_runner.process.lock

LOCKS = [seg_hooks.own_loop.lock.only_run, seg_runner.process.lock.only_run]
TRY = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def is_held(folder: Path) -> bool:
    """Whether another process cannot have the lock."""
    command = [sys.executable, "-W", "ignore", "-c", TRY, str(folder / seg_runner.process.lock.LOCK)]
    return b"BlockingIOError" in subprocess.run(command, capture_output=True, check=False).stderr


@pytest.mark.parametrize("locks", [LOCKS, LOCKS[::-1]])
@pytest.mark.parametrize("first_ends_first", [True, False])
def test_the_end_of_one_leaves_the_lock_of_the_other(tmp_path: Path, locks: list[Any], first_ends_first: bool) -> None:
    pytest.importorskip("fcntl")
    runs = [lock(tmp_path) for lock in locks]
    for run in runs:
        run.__enter__()
    assert is_held(tmp_path)
    for run in runs if first_ends_first else runs[::-1]:
        assert is_held(tmp_path)
        run.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
