"""Files that are whole or absent: written under a temporary name, synced, renamed; what killed writers left behind."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import queue
import secrets
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Protocol, Self

__all__ = ["AT_ONCE", "FULL", "Background", "Piece", "Writable", "clean_leftovers", "write_text", "write_whole"]

Piece = bytes | bytearray | memoryview
AT_ONCE, HANDED_ON = 2**20, 2**25  # bytes that one call writes, and after which the disk is told to begin
WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin to write, and wait for nothing
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Writable(Protocol):
    """A file that is being written."""

    def write(self, data: Piece, /) -> int:
        """Write until nothing is left."""

    def writelines(self, pieces: Iterable[Piece], /) -> None:
        """Write all pieces."""


def write_whole(path: Path, content: Piece | Callable[[Writable], object], expected: int = 0) -> None:
    """Write a file so that it is whole or absent: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: Final name; a file there is replaced in one step. Its folder is made.
        content: Bytes, or what is called with the open file.
        expected: Bytes that will come at least. The disk sets them aside first, where it can: a disk that is too full
            is known before anything is written, and writing is faster.

    Raises:
        OSError: It cannot be written; what is there stays as it is.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")  # known before it is there
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb", buffering=0) as file, Background("write-back") as background:
            _lock(file)
            _set_aside(file, expected)
            writer = _RawWriter(file, background)
            content(writer) if callable(content) else writer.write(content)
            file.truncate()  # what was set aside and not needed
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:  # said of the file that is wanted, not of the temporary one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in the same way, in UTF-8."""
    write_whole(path, text.encode("utf-8"))


class _RawWriter:
    """A raw file that takes everything it is given, and has the disk begin with what is there.

    Much at once is slow on disks whose cache looks for one large page for it.
    """

    def __init__(self, file: IO[bytes], background: Background) -> None:
        self.file, self.background = file, background
        self.size = self.handed_on = 0

    def write(self, data: Piece) -> int:
        """Write until nothing is left."""
        self.writelines([data])
        return len(data)

    def writelines(self, pieces: Iterable[Piece]) -> None:
        """Write all pieces, many small ones at once where the system can."""
        together = getattr(os, "writev", None)
        rest = deque(memoryview(piece) for piece in pieces)
        while rest:
            some = _first(rest)
            done = together(self.file.fileno(), some) if together else self.file.write(some[0])
            self.size += done
            while rest and done >= len(rest[0]):
                done -= len(rest.popleft())
            if done:
                rest[0] = rest[0][done:]
            if self.size - self.handed_on >= HANDED_ON:
                self.background(_hand_on, self.file.fileno(), self.handed_on, self.size - self.handed_on)
                self.handed_on = self.size


def _first(views: Iterable[memoryview]) -> list[memoryview]:
    """Return what one call of the system takes of them."""
    some: list[memoryview] = []
    room = AT_ONCE
    for view in islice(views, 512):
        some.append(view[:room])
        room -= len(some[-1])
        if not room:
            break
    return some


def _hand_on(file: int, begin: int, size: int) -> None:
    """Have the disk begin with what lies in its cache, so that the sync at the end waits for little."""
    begun = _libc("sync_file_range")
    if begun is not None:
        begun(file, ctypes.c_int64(begin), ctypes.c_int64(size), WRITE)  # ctypes would pass an int as 32 bits


def _set_aside(file: IO[bytes], size: int) -> None:
    """Call Linux's `fallocate`: `os.posix_fallocate` writes to every block where the disk knows no such call.

    Raises:
        OSError: There is no room.
    """
    allocate = _libc("fallocate")
    if not size or allocate is None:
        return
    if allocate(file.fileno(), 0, ctypes.c_int64(0), ctypes.c_int64(size)) and ctypes.get_errno() in FULL:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _libc(name: str) -> Callable[..., int] | None:
    """Return a function of Linux that Python does not offer; None where sizes are not 64 bits wide."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), name, None)


def _lock(file: IO[bytes]) -> None:
    """Hold a lock while the writer lives; `clean_leftovers` removes what nobody holds."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clean_leftovers(folder: str | Path) -> list[str]:
    """Remove temporary files of writers that were killed; returns their names. Call it when a run starts."""
    removed = []
    for path in Path(folder).glob(".*.tmp"):
        token = path.name.rsplit(".", 2)[-2]
        if len(token) != 12 or set(token) - set("0123456789abcdef") or _is_held(path):
            continue
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(path.name)
    return sorted(removed)


def _is_held(path: Path) -> bool:
    try:
        import fcntl

        with open(path, "rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return False
    except OSError:
        return True
    return False


class Background:
    """Calls functions one after the other in a thread of its own, which begins with the first of them.

    Leaving the block waits for all of them. Where no thread can be had (the interpreter is ending, the user's limit is
    reached), each call is made at once.

    >>> found = []
    >>> with Background("example") as background:
    ...     background(found.append, 1)
    ...     background(found.append, 2)
    >>> found
    [1, 2]
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._alone = False

    def __call__(self, function: Callable[..., object], *args: object) -> None:
        """Have `function(*args)` called; it must not raise."""
        if self._thread is None and not self._alone:
            self._begin()
        if self._alone:
            function(*args)
        else:
            self._calls.put(partial(function, *args))

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self.name)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread, self._alone = None, True

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def wait(self) -> None:
        """Wait until all calls so far were made."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
