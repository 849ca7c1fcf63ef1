"""Checkpoint files: whole or absent, every byte checked, readable by plain `torch.load(weights_only=True)`.

A file is what `torch.save` writes (without the zip's slow CRC32), ended by a zip comment that says where its run stood
and holds the xxh3-128 of every byte before it. It is written under a temporary name, synced, renamed, and its folder
synced.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import xxhash

from seg_runner.checkpoint.bounds import ExcessiveError, check_tree, records_of
from seg_runner.checkpoint.content import payload_bytes, to_cpu, to_plain
from seg_runner.checkpoint.finite import mark
from seg_runner.checkpoint.read_mapped import read_mapped
from seg_runner.checkpoint.read_mmengine import UnknownNamesError, read_restricted
from seg_runner.checkpoint.strange import kind_of_file
from seg_runner.checkpoint.whole_file import AT_ONCE, Beside, Piece, write_whole
from seg_runner.errors import CheckpointError
from seg_runner.trees import tensors_of

__all__ = ["read_checkpoint", "read_place", "verify_checkpoint", "write_checkpoint"]

MARK = b"seg-runner xxh3-128 "
TRAILER = len(MARK) + 32
PLACE = ("generation", "run_id", "epoch", "iter")
LONGEST = 1000
CHUNK = 2**20
SMALL = 2**12
_CRC_LOCK = threading.Lock()


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
    mark(plain)
    write_whole(Path(path), lambda file: _save(plain, file), payload_bytes(plain))


def _save(payload: Any, file: IO[bytes]) -> None:
    with Beside("checksum") as beside:
        body = _Body(file, payload, beside)
        with _without_crc32():
            torch.save(payload, body)  # type: ignore[arg-type]
        body.finish(_place_of(payload))


def _place_of(payload: Any) -> bytes:
    """Where the run stood, as text: looking for the newest file unpickles none that is not known to be whole."""
    meta = payload.get("meta")
    if not isinstance(meta, dict) or not isinstance(meta.get("iter"), int):
        return b""
    place = {key: meta[key] for key in PLACE if isinstance(meta.get(key), int | str)}
    finite = not meta.get("not_finite")
    kept = meta.get("optimizer_not_finite", [])[:3]
    said = {"optimizer_not_finite": kept} if kept and len(", ".join(kept)) < LONGEST // 4 else {}
    text = json.dumps({**place, "complete": "optimizer" in payload, "finite": finite, **said}).encode()
    return text if len(text) < LONGEST else b""


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


class _Body:
    """What torch writes into: has hashed what passes, and keeps an error for later instead of raising inside C++.

    Pieces are gathered, and the bytes of tensors not even copied for that: few large writes cost the disk's cache less
    than many small ones. Each is hashed while the next ones are written; nothing waits for that before the end.
    """

    def __init__(self, file: IO[bytes], payload: Any, beside: Beside) -> None:
        self.file, self.beside, self.hash = file, beside, xxhash.xxh3_128()
        self.gathered: list[Piece] = []
        self.size = 0
        self.small = bytearray()
        self.error: BaseException | None = None
        storages = [tensor.untyped_storage() for tensor in tensors_of(payload) if tensor.layout == torch.strided]
        self.lasting = {storage.data_ptr(): storage.nbytes() for storage in storages}

    def write(self, data: Any) -> int:
        """Take the bytes; the last small ones are held back: the end is still to be changed."""
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                self._take(view)
            except BaseException as error:
                self.error = error
        return len(view)

    def _take(self, view: memoryview) -> None:
        if len(view) < SMALL:
            self.small += view
            return
        self._gather(self.small)
        self.small = bytearray()
        self._gather(view if self._lasts(view) else bytes(view))

    def _lasts(self, view: memoryview) -> bool:
        """Whether these are the bytes of a tensor of the payload, not of a buffer of torch's that goes at once."""
        return self.lasting.get(np.frombuffer(view, np.uint8).ctypes.data) == len(view)

    def _gather(self, piece: Piece) -> None:
        self.gathered.append(piece)
        self.size += len(piece)
        if self.size > AT_ONCE:
            self._write_out()

    def _write_out(self) -> None:
        self.beside(self._hash_all, self.gathered)
        self.file.writelines(self.gathered)
        self.gathered, self.size = [], 0

    def _hash_all(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self.hash.update(piece)

    def flush(self) -> None:
        """Nothing: syncing comes at the end."""

    def finish(self, place: bytes) -> None:
        """End the zip with a comment that holds the place and the checksum."""
        if self.error is not None:
            raise self.error
        assert self.small[-22:-18] == b"PK\x05\x06", "torch.save no longer ends with the zip's end record"
        self._gather(self.small[:-2] + (len(place) + TRAILER).to_bytes(2, "little") + place + MARK)
        self._write_out()
        self.beside.wait()
        self.file.write(self.hash.hexdigest().encode())


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
    try:
        check_tree(content, path.stat().st_size)
    except ExcessiveError as error:
        raise _refused(path, error) from error
    return content


def _refused(path: str | Path, error: ExcessiveError) -> CheckpointError:
    return CheckpointError(f"{path} is refused: {error}. No checkpoint is like that; it was damaged, or made to harm")


def _load(path: Path, unsafe: bool) -> Any:
    if _tail(path, TRAILER).startswith(MARK):
        with contextlib.suppress(Exception):  # the other reader reads it, or says what is wrong with it
            return read_mapped(path)
    mapped = False
    try:
        mapped = _is_zip(path)
        return read_restricted(path, mapped)
    except UnknownNamesError as error:  # whether torch knows them, or the user told it that they are safe
        return _load_by_torch(path, mapped, unsafe, error)
    except ExcessiveError as error:
        raise _refused(path, error) from error
    except Exception as error:  # whatever a damaged file leads to
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """What to say of a file that no reader takes: what it is, where that is clear."""
    if kind := kind_of_file(path):
        return CheckpointError(f"{path} is no checkpoint, but {kind}. Give a file that a training saved (*.pth)")
    return CheckpointError(
        f"{path} is not a whole checkpoint: it was cut off or damaged, or something else than torch.save wrote it "
        f"({_first_line(error)}). Copy it again, or give another one"
    )


def _load_by_torch(path: Path, mapped: bool, unsafe: bool, unknown: UnknownNamesError) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=not unsafe, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds {unknown}, which is neither a tensor nor a plain value; reading it could run code. "
            f"If you trust the file, read it with unsafe=True"
        ) from error
    except Exception as error:
        raise _unreadable(path, error) from error


def _is_zip(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        records_of(archive, path.stat().st_size)
    return True


def _tail(path: Path, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - size, 0))
        return file.read()


def read_place(path: str | Path) -> dict[str, Any] | None:
    """Where the run of a file stood, without reading its content; None for files that are not ours, or cut short.

    Nothing is checked: a file that is chosen by this is to be verified.

    >>> read_place(__file__) is None
    True
    """
    body, mark, _ = _tail(Path(path), LONGEST + TRAILER + 22).rpartition(MARK)
    begin = body.rfind(b"PK\x05\x06")
    if not mark or begin < 0:
        return None
    try:
        place = json.loads(body[begin + 22 :])
    except ValueError:
        return None
    return place if isinstance(place, dict) else None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def verify_checkpoint(path: str | Path, *, pickle_only: bool = False) -> None:
    """Check every byte of a file against its checksum.

    Args:
        path: The file.
        pickle_only: Of a zip that is not ours check only what is unpickled, not the tensors.

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
    _verify_zip(path, pickle_only)


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


def _verify_zip(path: str | Path, pickle_only: bool) -> None:
    """Files that are not ours: the zip's CRC32 (the formats before zip have no checksum at all)."""
    with open(path, "rb") as file:
        is_zip = b"PK\x03\x04".startswith(file.read(4))  # a file cut within these four bytes, too
    if not is_zip:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            found = [record.filename for record in records_of(archive, os.path.getsize(path))]
            names = [name for name in found if not pickle_only or name.endswith("/data.pkl")]
            broken = next((name for name in names if not _fits(archive, name)), None)
    except ExcessiveError as error:
        raise _refused(path, error) from error
    except Exception as error:  # whatever a damaged file leads to
        raise CheckpointError(f"{path} is not whole: {_first_line(error)}") from error
    if broken is not None:
        raise CheckpointError(
            f"{path} was damaged, or written without checksums: {broken} does not match its CRC32 "
            f"(verify=False reads it all the same)"
        )


def _fits(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether a record's bytes are those of its CRC32."""
    try:
        with archive.open(name) as record:
            while record.read(CHUNK):
                pass
    except zipfile.BadZipFile:
        return False
    return True
