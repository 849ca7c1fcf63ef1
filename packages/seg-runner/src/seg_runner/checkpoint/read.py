"""Reading checkpoint files: checking their bytes, finding where their run stood, and saying what else a file is."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
import xxhash

from seg_runner.checkpoint.bounds import ExcessiveError, check_tree, records_of
from seg_runner.checkpoint.read_mapped import read_mapped
from seg_runner.checkpoint.read_mmengine import UnknownNamesError, read_restricted
from seg_runner.checkpoint.several.assemble import read_set
from seg_runner.checkpoint.several.layout import checkpoint_bytes, is_checkpoint, read_manifest, verify_set
from seg_runner.checkpoint.write import LONGEST_PLACE, MARK, TRAILER
from seg_runner.distributed.shards import Cut
from seg_runner.errors import CheckpointError
from seg_runner.remote.stubs import fetch_whole

__all__ = ["kind_of_file", "read_checkpoint", "read_place", "read_unverified", "verify_checkpoint"]

CHUNK = 2**20
HEAD = 4096

PICTURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
OTHERS = {
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "an archive packed by gzip",
    b"BZh": "an archive packed by bzip2",
    b"\xfd7zXZ": "an archive packed by xz",
    b"7z\xbc\xaf": "an archive of 7-Zip",
    b"\x93NUMPY": "an array of numpy (.npy)",
    b"\x89HDF": "an HDF5 file",
    b"\x7fELF": "a program",
}


def read_checkpoint(path: str | Path, *, verify: bool = True, unsafe: bool = False) -> dict[str, Any]:
    """Read a checkpoint; its tensors are mapped from the file (copy on write) where the format allows.

    Reads our files, MMEngine's 0.10 (history objects become plain lists) and plain state dicts, building nothing but
    tensors and plain values.

    Args:
        path: The file, or the folder of a set of files (`sharded=True`).
        verify: Check every byte first: our checksum, or the zip's CRC32 in files that are not ours.
        unsafe: Allow a file that can only be read by running code from it. Only for files that you trust.

    Raises:
        CheckpointError: No such file, not whole, or holding objects that are not built (their names are listed).
    """
    path = Path(path)
    if not is_checkpoint(path):
        raise CheckpointError(f"there is no checkpoint {path}")
    fetch_whole(path)
    if verify:
        verify_checkpoint(path)
    return read_unverified(path, unsafe)


def read_unverified(path: Path, unsafe: bool = False, cuts: Mapping[torch.Size, Cut] | None = None) -> dict[str, Any]:
    """Read what is there and was verified.

    Args:
        path: The file, or the folder of a set.
        unsafe: As `read_checkpoint` takes it.
        cuts: Of a set, read tensors of these shapes as this rank keeps them, where each rank has a part.
    """
    content = read_set(path, lambda file: _load(file, unsafe), cuts) if path.is_dir() else _load(path, unsafe)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} contains a {type(content).__name__}; a checkpoint is a dict")
    try:
        check_tree(content, checkpoint_bytes(path))
    except ExcessiveError as error:
        raise _refused(path, error) from error
    return content


def _refused(path: str | Path, error: ExcessiveError) -> CheckpointError:
    return CheckpointError(f"{path} is refused: {error}. No real checkpoint is so; it was damaged, or made to harm")


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
    """Say of a file that no reader takes: what it is, where that is clear."""
    if kind := kind_of_file(path):
        return CheckpointError(f"{path} is not a checkpoint, but {kind}. Give a file that a training saved (*.pth)")
    return CheckpointError(
        f"{path} is not a whole checkpoint: it was cut off or damaged, or something else than torch.save wrote it "
        f"({_first_line(error)}). Copy it again, or give another one"
    )


def _load_by_torch(path: Path, mapped: bool, unsafe: bool, unknown: UnknownNamesError) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=not unsafe, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds {unknown}, which is neither a tensor nor a plain value, so it is not read. Reading it would "
            "run what the file says, with all that you may do on this machine. If you know who made it: "
            "load_options=dict(unsafe=True), on the command line --cfg-options load_options.unsafe=True, in Python "
            "unsafe=True. Safer: let its owner save the `state_dict` alone"
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
    """Read where the run of a file stood, without reading its content; None for files that are not ours, or cut short.

    Nothing is checked: a file that is chosen by this is to be verified.

    >>> read_place(__file__) is None
    True
    """
    if Path(path).is_dir():
        try:
            return read_manifest(Path(path)).place or None
        except CheckpointError:
            return None
    body, mark, _ = _tail(Path(path), LONGEST_PLACE + TRAILER + 22).rpartition(MARK)
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
    fetch_whole(path)
    if os.path.isdir(path):
        verify_set(Path(path))
        return
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
    """Check files that are not ours by the zip's CRC32 (the formats before zip have no checksum at all)."""
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
            f"(verify=False reads it anyway)"
        )


def _fits(archive: zipfile.ZipFile, name: str) -> bool:
    """Tell whether a record's bytes are those of its CRC32."""
    try:
        with archive.open(name) as record:
            while record.read(CHUNK):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def kind_of_file(path: str | Path) -> str:
    """Say what a file is; empty where it may be a checkpoint.

    >>> kind_of_file(__file__)
    'a text'
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
    for start, name in PICTURES.items():
        if head.startswith(start) and (name != "BMP" or head[6:10] == bytes(4)):
            return f"a picture ({name})"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a picture (WebP)"
    if head[4:8] == b"ftyp":
        return "a picture (HEIC, AVIF) or a video"
    if head[8:10] == b'{"':
        return "a file of safetensors, which holds weights only"
    for start, name in OTHERS.items():
        if head.startswith(start):
            return name
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    return _kind_of_text(head)


def _kind_of_zip(path: str | Path) -> str:
    """Say it of a zip without torch.save's records; one that is cut off may be a checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return ""
    if any(name.endswith("/data.pkl") for name in names):
        return ""
    if any(name.endswith("constants.pkl") for name in names):
        return ""
    return "arrays of numpy (.npz)" if names and names[0].endswith(".npy") else "a zip archive of other files"


def _kind_of_text(head: bytes) -> str:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a letter may be cut by the end of what was read
            return ""
        text = head[: error.start].decode("utf-8-sig")
    if not text.strip() or not all(letter.isprintable() or letter in "\t\r\n\f" for letter in text):
        return ""
    start = text.lstrip().lower()
    if start.startswith("version https://git-lfs"):
        return "a pointer of Git LFS (fetch the file itself: git lfs pull)"
    return "a web page (a failed download?)" if start.startswith(("<!doctype", "<html")) else "a text"
