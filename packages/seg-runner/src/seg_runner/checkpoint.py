"""Checkpoint files: whole or absent, every byte checked, readable by plain `torch.load(weights_only=True)`.

A file is what `torch.save` writes (without the zip's slow CRC32), ended by a zip comment that holds the xxh3-128 of
every byte before it. It is written under a temporary name, synced, renamed, and its folder synced.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
import xxhash

from seg_runner.mapped import read_mapped
from seg_runner.payload import payload_bytes, to_cpu, to_plain
from seg_runner.whole_file import write_whole

__all__ = ["CheckpointError", "read_checkpoint", "verify_checkpoint", "write_checkpoint"]

MARK = b"seg-runner xxh3-128 "
TRAILER = len(MARK) + 32
CHUNK = 2**20
GATHERED = 2**16
_CRC_LOCK = threading.Lock()


class CheckpointError(ValueError):
    """A checkpoint that is not there, not whole, or not safe to read."""


# ---------------------------------------------------------------------------------------------------- writing


def write_checkpoint(path: str | Path, payload: dict[str, Any]) -> None:
    """Write `payload` to `path`, whole or not at all.

    Args:
        path: Final name; a file there is replaced in one step.
        payload: Tensors and plain values; numpy numbers become plain ones.

    Raises:
        TypeError: A value that a safe file cannot hold, with the path to it.
        CheckpointWriteError: The disk is full, the folder cannot be written, ...: what is there stays as it is.
    """
    plain = to_cpu(to_plain(payload))
    write_whole(Path(path), lambda file: _save(plain, file), payload_bytes(plain))


def _save(payload: Any, file: IO[bytes]) -> None:
    with _Body(file) as body, _without_crc32():
        torch.save(payload, body)  # type: ignore[arg-type]
    body.finish()


@contextlib.contextmanager
def _without_crc32() -> Iterator[None]:
    """The zip's own CRC32 costs more than all the rest of a save; older versions of torch always write it."""
    switch: Callable[[bool], None] | None = getattr(torch.serialization, "set_crc32_options", None)
    if switch is None:
        yield
        return
    with _CRC_LOCK:
        before = torch.serialization.get_crc32_options()
        switch(False)
        try:
            yield
        finally:
            switch(before)


class _Hasher:
    """The checksum of what comes, large pieces in a thread: while the disk takes a piece, the other core hashes it."""

    def __init__(self) -> None:
        self.hash = xxhash.xxh3_128()
        self._todo: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="checksum")
        self._thread.start()

    def _run(self) -> None:
        for piece in iter(self._todo.get, None):
            self.hash.update(piece)
            self._done.put(None)

    @contextlib.contextmanager
    def take(self, piece: bytes | bytearray | memoryview) -> Iterator[None]:
        """Hash the piece while the block runs; it may be gone afterwards."""
        if len(piece) < CHUNK:
            self.hash.update(piece)
            yield
            return
        self._todo.put(memoryview(piece))
        try:
            yield
        finally:
            self._done.get()

    def close(self) -> None:
        """End the thread."""
        self._todo.put(None)
        self._thread.join()


class _Body:
    """What torch writes into: hashes while it writes, and keeps an error for later instead of raising inside C++."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hasher = file, _Hasher()
        self.small = bytearray()
        self.error: BaseException | None = None

    def __enter__(self) -> _Body:
        return self

    def __exit__(self, *reason: object) -> None:
        self.hasher.close()

    def write(self, data: Any) -> int:
        """Take the bytes; small pieces are gathered, and the last ones held back: the end is still to be changed."""
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                self._take(view)
            except BaseException as error:
                self.error = error
        return len(view)

    def _take(self, view: memoryview) -> None:
        if len(self.small) + len(view) > GATHERED:
            self._put(self.small)
            self.small = bytearray()
        if len(view) < GATHERED:
            self.small += view
        else:
            self._put(view)

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        with self.hasher.take(data):
            self.file.write(data)

    def flush(self) -> None:
        """Nothing: syncing comes at the end."""

    def finish(self) -> None:
        """End the zip with a comment that holds the checksum."""
        if self.error is not None:
            raise self.error
        assert self.small[-22:-18] == b"PK\x05\x06", "torch.save no longer ends with the zip's end record"
        self._put(self.small[:-2] + TRAILER.to_bytes(2, "little") + MARK)
        self.file.write(self.hasher.hash.hexdigest().encode())


# ---------------------------------------------------------------------------------------------------- reading


def read_checkpoint(path: str | Path, *, verify: bool = True, unsafe: bool = False) -> dict[str, Any]:
    """A checkpoint's content, its tensors mapped from the file (copy on write) where the format allows.

    Reads our files, MMEngine's 0.10 (history objects become plain lists) and plain state dicts, building nothing but
    tensors and plain values.

    Args:
        path: The file.
        verify: Check every byte first: our checksum, or the zip's CRC32 in files that are not ours.
        unsafe: Allow a file that can only be read by running code from it. Only for files that you trust.

    Raises:
        CheckpointError: No such file, not whole, or holding objects that are not built (their names are listed).
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    if verify:
        verify_checkpoint(path)
    content = _load(path, unsafe)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; a checkpoint is a dict")
    return content


def _load(path: Path, unsafe: bool) -> Any:
    if _is_ours(path):
        with contextlib.suppress(Exception):  # torch reads it, or says what is wrong with it
            return read_mapped(path)
    mapped = zipfile.is_zipfile(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        pass
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint: {_first_line(error)}") from error
    from seg_runner.legacy import read_restricted

    if unsafe:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=mapped)
    return read_restricted(path, mapped)


def _is_ours(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - TRAILER, 0))
        return file.read(len(MARK)) == MARK


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def verify_checkpoint(path: str | Path) -> None:
    """Check every byte of a file against its checksum.

    Raises:
        CheckpointError: Empty, cut short, or changed.
    """
    size = os.path.getsize(path)
    if size == 0:
        raise CheckpointError(f"{path} is empty")
    with open(path, "rb") as file:
        file.seek(max(size - TRAILER, 0))
        trailer = file.read()
        if trailer.startswith(MARK):
            file.seek(0)
            if _digest(file, size - 32) != trailer[len(MARK) :]:
                raise CheckpointError(f"{path} was damaged: its bytes do not match their checksum")
            return
    _verify_zip(path)


def _digest(file: IO[bytes], size: int) -> bytes:
    hasher, buffer = xxhash.xxh3_128(), bytearray(min(CHUNK, max(size, 1)))
    view = memoryview(buffer)
    while size:
        count = file.readinto(view[: min(size, len(view))])  # type: ignore[attr-defined]
        if not count:
            break
        hasher.update(view[:count])
        size -= count
    return hasher.hexdigest().encode()


def _verify_zip(path: str | Path) -> None:
    """Files that are not ours: the zip's CRC32 (the formats before zip have no checksum at all)."""
    with open(path, "rb") as file:
        is_zip = b"PK\x03\x04".startswith(file.read(4))  # a file cut within these four bytes, too
    if not is_zip:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is not whole: {_first_line(error)}") from error
    if broken is not None:
        raise CheckpointError(
            f"{path} was damaged, or written without checksums: {broken} does not match its CRC32 "
            f"(verify=False reads it all the same)"
        )
