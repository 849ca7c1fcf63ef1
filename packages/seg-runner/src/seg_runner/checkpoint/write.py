"""Writing checkpoint files: whole or absent, every byte checked, readable by `torch.load(weights_only=True)`.

A file is what `torch.save` writes (with a quicker pickler, and without the zip's slow CRC32), ended by a zip comment
that says where its run stood and holds the xxh3-128 of every byte before it. It is written under a temporary name,
synced, renamed, and its folder synced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

from seg_runner import pickling
from seg_runner.checkpoint.content import Storages, storages_of, to_cpu, to_plain, total_bytes
from seg_runner.checkpoint.finite import mark
from seg_runner.files import AT_ONCE, FULL, Background, Piece, Writable, write_whole

__all__ = [
    "LONGEST_PLACE",
    "MARK",
    "TRAILER",
    "CheckpointWriteError",
    "explained",
    "place_of",
    "write_checkpoint",
    "write_or_explain",
    "write_plain",
]

MARK = b"seg-runner xxh3-128 "
TRAILER = len(MARK) + 32
PLACE = ("generation", "run_id", "epoch", "iter")
LONGEST_PLACE = 1000  # bytes; with the checksum it must fit into the zip's comment of at most 65,535
SMALL = 2**12  # bytes; what torch writes round the tensors is gathered, the zip's end (to be changed) among it
_CRC_LOCK = threading.Lock()


class CheckpointWriteError(OSError):
    """A checkpoint that could not be written; nothing stands under its name that was not there before."""


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
    mark(plain)
    storages = storages_of(plain)
    write_or_explain(Path(path), lambda file: _save(plain, storages, file), total_bytes(storages))


def write_or_explain(path: Path, content: Piece | Callable[[Writable], object], expected: int = 0) -> None:
    """Write a file of a checkpoint as `write_whole` does; say what to do where that fails.

    Raises:
        CheckpointWriteError: The disk is full, the folder cannot be written, ...: what is there stays as it is.
    """
    try:
        write_whole(path, content, expected)
    except OSError as error:
        raise explained(path, error, expected) from error


def write_plain(path: Path, plain: Mapping[str, object]) -> None:
    """Write what is plain and on the CPU already.

    Raises:
        OSError: It cannot be written.
    """
    storages = storages_of(plain)
    write_whole(path, lambda file: _save(plain, storages, file), total_bytes(storages))


def _save(payload: Mapping[str, object], storages: Storages, file: Writable) -> None:
    with Background("checksum") as background:
        body = _Body(file, storages, background)
        with _without_crc32():
            torch.save(payload, body, pickle_module=pickling)  # type: ignore[arg-type]
        body.finish(_place_text(payload))


def place_of(payload: Mapping[str, object]) -> dict[str, object]:
    """Return where the run stood; empty where the checkpoint does not say it."""
    meta = payload.get("meta")
    if not isinstance(meta, dict) or not isinstance(meta.get("iter"), int):
        return {}
    place = {key: meta[key] for key in PLACE if isinstance(meta.get(key), int | str)}
    finite = not meta.get("not_finite")
    kept = meta.get("optimizer_not_finite", [])[:3]
    said = {"optimizer_not_finite": kept} if kept and len(", ".join(kept)) < LONGEST_PLACE // 4 else {}
    return {**place, "complete": "optimizer" in payload, "finite": finite, **said}


def _place_text(payload: Mapping[str, object]) -> bytes:
    """Return it as text: looking for the newest file unpickles none that is not known to be whole."""
    place = place_of(payload)
    text = json.dumps(place).encode() if place else b""
    return text if len(text) < LONGEST_PLACE else b""


@contextlib.contextmanager
def _without_crc32() -> Iterator[None]:
    """Leave out the zip's own CRC32: it costs more than all the rest of a save. Older torch always writes it."""
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


class _Body:
    """What torch writes into: has hashed what passes, and keeps an error for later instead of raising inside C++.

    Pieces are gathered, and the bytes of tensors not even copied for that: few large writes cost the disk's cache less
    than many small ones. Each is hashed while the next ones are written; the last ones are hashed here, so that a small
    file needs no thread.
    """

    def __init__(self, file: Writable, storages: Storages, background: Background) -> None:
        self.file, self.background, self.hash = file, background, xxhash.xxh3_128()
        self.gathered: list[Piece] = []
        self.size = 0
        self.small = bytearray()
        self.error: BaseException | None = None
        large = [storage for storage in storages.values() if storage.nbytes() >= SMALL]
        self.lasting = {storage.data_ptr(): storage.nbytes() for storage in large}

    def write(self, data: Piece) -> int:
        """Take the bytes; the last small ones are held back: the end is still to be changed."""
        size = len(data)  # torch gives bytes, or a view of bytes
        if self.error is None:
            try:
                if size >= SMALL or len(self.small) >= AT_ONCE:
                    self._gather(self.small)
                    self.small = bytearray()
                if size >= SMALL:
                    view = memoryview(data)
                    self._gather(view if self._lasts(view) else bytes(view))
                else:
                    self.small += data
            except BaseException as error:
                self.error = error
        return size

    def _lasts(self, view: memoryview) -> bool:
        """Tell whether these are the bytes of a tensor of the payload, not of a buffer of torch's that goes at once."""
        return self.lasting.get(np.frombuffer(view, np.uint8).ctypes.data) == len(view)

    def _gather(self, piece: Piece) -> None:
        self.gathered.append(piece)
        self.size += len(piece)
        if self.size > AT_ONCE:
            self._write_out()

    def _write_out(self) -> None:
        self.background(self._hash_all, self.gathered)
        self.file.writelines(self.gathered)
        self.gathered, self.size = [], 0

    def _hash_all(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.hash.update(piece)

    def flush(self) -> None:
        """Do nothing: syncing comes at the end."""

    def finish(self, place: bytes) -> None:
        """End the zip with a comment that holds the place and the checksum."""
        if self.error is not None:
            raise self.error
        assert self.small[-22:-18] == b"PK\x05\x06", "torch.save no longer ends with the zip's end record"
        end = self.small[:-2] + (len(place) + TRAILER).to_bytes(2, "little") + place + MARK
        last = [*self.gathered, end]
        self.background.wait()
        self._hash_all(last)
        self.file.writelines([*last, self.hash.hexdigest().encode()])


def explained(path: Path, error: OSError, expected: int = 0) -> CheckpointWriteError:
    """Return the error with the path that was wanted, and what to do; `expected`: bytes that were to be written."""
    full = error.errno in FULL
    cause = f"the disk is full{_room(path.parent, expected)}" if full else (error.strerror or str(error))
    advice = "make room, or keep fewer checkpoints (max_keep_ckpts)" if full else "check the folder and its permissions"
    return CheckpointWriteError(
        error.errno or errno.EIO,
        f"checkpoint {path} was not written: {cause}. The files from before are untouched; {advice}",
    )


def _room(folder: Path, expected: int) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f" ({free / 2**20:.1f} MB are free, {expected / 2**20:.1f} MB are needed)" if free < expected else ""
