"""Two runs that train in one folder at the same time: the second one is refused."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOCK", "only_run"]

LOCK = ".running"


@contextlib.contextmanager
def only_run(work_dir: Path) -> Iterator[None]:
    """Hold the folder's lock while the block runs.

    The lock goes with the process, however that ends, and its workers do not inherit it. A second run of the same
    process, a TrainState's too, shares it. Where the system or the folder knows no locks, nothing is held.

    Raises:
        RuntimeError: another process holds it; the message says which one.
    """
    held = None
    with contextlib.suppress(ImportError, OSError):
        held = _take(work_dir)
    try:
        yield
    finally:
        if held is not None:
            _leave(work_dir / LOCK, held)


@dataclass
class _Held:
    """A lock of this process: closing any handle of the file would drop it, so the last run closes the only one."""

    file: int
    process: int
    runs: int = 1


_HELD: list[_Held] = vars(sys).setdefault("_seg_engine_runs", [])
"""One book for the whole process: seg-hooks's TrainState, not imported here, writes entries of this form in it, too."""


def _take(work_dir: Path) -> _Held:
    """Return the lock of a folder, shared with other runs of this process."""
    path = work_dir / LOCK
    mine = next((one for one in _HELD if one.process == os.getpid() and _is_at(path, one.file)), None)
    if mine is not None:
        mine.runs += 1
        return mine
    file = _lock(path)
    for _ in range(9):  # the run before may just have ended, and taken its file along
        if _is_at(path, file):
            break
        os.close(file)
        file = _lock(path)
    with contextlib.suppress(OSError):  # on a full disk it does not say which
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)}".encode()[:1000], 0)
    _HELD.append(_Held(file, os.getpid()))
    return _HELD[-1]


def _lock(path: Path) -> int:
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(file, 1000, 0).decode("utf-8", "replace")
        os.close(file)
        if error.errno in (errno.EAGAIN, errno.EACCES):  # the second is what some network folders say
            raise RuntimeError(_refusal(path.parent, holder)) from error
        raise
    return file


def _leave(path: Path, held: _Held) -> None:
    held.runs -= 1
    if held.runs or held.process != os.getpid():  # a forked process holds nothing
        return
    _HELD.remove(held)
    with contextlib.suppress(OSError):
        if _is_at(path, held.file):
            path.unlink()
    os.close(held.file)


def _is_at(path: Path, file: int) -> bool:
    """Tell whether an open file is still the one at this path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False


def _refusal(work_dir: Path, holder: str) -> str:
    return (
        f"another run is training in {work_dir} ({holder or 'it does not say which'}): both would write iter_N.pth "
        "and last_checkpoint there, and overwrite each other's. Stop that one, or give another folder (work_dir, "
        "--work-dir)"
    )
