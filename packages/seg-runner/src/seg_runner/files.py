"""Files that are whole or absent: written under a temporary name, synced, renamed; what killed writers left behind."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import queue
import secrets
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Protocol, Self

__all__ = [
    "AT_ONCE",
    "FULL",
    "Background",
    "Piece",
    "Writable",
    "clean_leftovers",
    "new_folder",
    "put_in_place",
    "remove",
    "write_text",
    "write_whole",
]

Piece = bytes | bytearray | memoryview
AT_ONCE, HANDED_ON = 2**20, 2**25  # bytes that one call writes, and after which the disk is told to begin
ASIDE = ".was"
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
    placed = False
    try:
        with _created(temporary) as file, Background("write-back") as background:
            _lock(file)
            if expected >= AT_ONCE:  # less is written by one call
                _set_aside(file, expected)
            writer = _RawWriter(file, background)
            content(writer) if callable(content) else writer.write(content)
            if expected >= AT_ONCE:
                file.truncate()  # what was set aside and not needed
            os.fsync(file.fileno())
        put_in_place(temporary, path)
        placed = True
    except OSError as error:  # said of the file that is wanted, not of the temporary one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        if not placed:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _created(path: Path) -> IO[bytes]:
    """Open a new file; its folder is made where it is not there."""
    try:
        return open(path, "xb", buffering=0)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "xb", buffering=0)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a new folder, in which what is to lie under `path` is written; `put_in_place` gives it that name.

    Else it is gone at the end; a writer that is killed leaves it to `clean_leftovers`.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")
    handle = None
    try:
        temporary.mkdir(parents=True)
        if os.name != "nt":
            handle = os.open(temporary, os.O_RDONLY)
            _lock(handle)
        yield temporary
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give what was written its final name, and sync the folder; what is there is replaced.

    A file goes over a file in one step. Where one of them is a folder, the old one steps aside first, and
    `clean_leftovers` puts it back if the writer is killed right then.

    Raises:
        OSError: It cannot be done; what is there stays as it is.
    """
    if temporary.is_dir():
        _sync_folder(temporary)
    if not path.is_dir() and not (temporary.is_dir() and path.exists()):
        os.replace(temporary, path)
        _sync_folder(path.parent)
        return
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}{ASIDE}")
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside, path)
        raise
    _sync_folder(path.parent)
    remove(aside)


def remove(path: Path) -> None:
    """Remove a file, or a folder: that has another name first, so that no half of it is taken for the whole."""
    if path.is_dir():
        gone = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")
        os.rename(path, gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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


def _lock(file: IO[bytes] | int) -> None:
    """Hold a lock while the writer lives; `clean_leftovers` removes what nobody holds."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clean_leftovers(folder: str | Path) -> list[str]:
    """Remove what writers left that were killed; returns the names. Call it when a run starts.

    What had to step aside for a folder that did not come gets its name back.
    """
    removed = []
    for path in Path(folder).glob(".*"):
        start, dot, ending = path.name.rpartition(".")
        name, _, token = start.rpartition(".")
        if dot + ending not in (".tmp", ASIDE) or len(token) != 12 or set(token) - set("0123456789abcdef"):
            continue
        with contextlib.suppress(OSError):
            if dot + ending == ASIDE and not (path.parent / name[1:]).exists():
                os.rename(path, path.parent / name[1:])
            elif not _is_held(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(path.name)
    return sorted(removed)


def _is_held(path: Path) -> bool:
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
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
