"""Two runs that train in one folder at the same time: the second one is refused."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LOCK", "only_run"]

LOCK = ".running"


@contextlib.contextmanager
def only_run(work_dir: Path) -> Iterator[None]:
    """Hold the folder's lock while the block runs.

    The lock goes with the process, however that ends, and its workers do not inherit it. Where the system or the
    folder knows no locks, nothing is held.

    Raises:
        RuntimeError: another process holds it; the message says which one.
    """
    file = None
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        file = os.open(work_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 1000, 0).decode("utf-8", "replace")
            os.close(file)
            raise RuntimeError(_told(work_dir, holder)) from error
        else:
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)}".encode()[:1000], 0)
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                (work_dir / LOCK).unlink()
            os.close(file)


def _told(work_dir: Path, holder: str) -> str:
    return (
        f"another run is training in {work_dir} ({holder or 'it does not say which'}): both would write iter_N.pth "
        "and last_checkpoint there, each over the other's. Stop that one, or give another folder (work_dir, --work-dir)"
    )
