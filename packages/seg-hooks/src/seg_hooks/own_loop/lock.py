"""One run in a folder: what an earlier one left there, and another that is training there at this moment."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seg_hooks.files import pointed_at

__all__ = ["LOCK", "check_folder", "only_run"]

LOCK = ".running"
OURS = re.compile(r"(?:(?:iter|epoch|interrupted_iter)_\d+|best_.+)\.pth")
PUBLISHED = re.compile(r".*-[0-9a-f]{8}\.pth")


def check_folder(work_dir: Path, overwrite: bool, logger: logging.Logger) -> None:
    """Refuse to begin a new run in a folder with checkpoints of another one, or delete these.

    Args:
        work_dir: The folder of the run.
        overwrite: Delete the checkpoints that are there.
        logger: Is told what was deleted.

    Raises:
        FileExistsError: there are some, and `overwrite` is False.
    """
    files = [path for path in work_dir.glob("*.pth") if OURS.fullmatch(path.name) and path.is_file()]
    found = sorted({*_pointed(work_dir), *(path for path in files if not PUBLISHED.fullmatch(path.name))})
    names = ", ".join(path.name for path in found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
    if found and not overwrite:
        raise FileExistsError(
            f"TrainState: an earlier run has left checkpoints in {work_dir} ({names}); two runs in one folder would "
            "mix. Go on from the newest with state.resume() before `with state:`, delete them with overwrite=True, or "
            "give another work_dir."
        )
    if found:
        (work_dir / "last_checkpoint").unlink(missing_ok=True)
        for path in found:
            path.unlink(missing_ok=True)
        logger.warning("overwrite=True: deleted %d checkpoints of an earlier run: %s", len(found), names)


def _pointed(work_dir: Path) -> list[Path]:
    """Find the checkpoint of any name that `last_checkpoint` names, where it lies in this folder."""
    try:
        path = pointed_at(work_dir / "last_checkpoint")
        return [path] if path is not None and path.is_file() and path.parent == work_dir else []
    except (OSError, ValueError):
        return []


@contextlib.contextmanager
def only_run(work_dir: Path) -> Iterator[None]:
    """Hold the folder's lock while the block runs; the same one that a Runner of seg-runner holds.

    The lock goes with the process, however that ends. A second run of the same process, a Runner's too, shares it.
    Where the system or the folder knows no locks, nothing is held.

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
"""One book for the whole process: seg-runner's Runner, not imported here, writes entries of this form in it, too."""


def _take(work_dir: Path) -> _Held:
    """Take the lock of a folder, or share the one that another run of this process holds."""
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
            raise RuntimeError(_taken(path.parent, holder)) from error
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


def _taken(work_dir: Path, holder: str) -> str:
    return (
        f"TrainState: another run is training in {work_dir} ({holder or 'unknown'}): both would write "
        "iter_N.pth and last_checkpoint there, and overwrite each other's. Stop that one, or give another work_dir."
    )
