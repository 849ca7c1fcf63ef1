"""A checkpoint as a set of files in one folder: what lies there, and how it is seen that all of it is whole.

The folder has the name that a single file would have (`iter_100.pth`). In it:

* `rest.pth`: the checkpoint as a file of its own, in which a tensor that lies elsewhere is named instead;
* `rank_0.shards`, ...: the bytes of the tensors that each rank has written, one after the other;
* `manifest.json`: where the run stood, size and checksum of each file, and of each tensor its shape and the places of
  its parts; the last line is the checksum of all before it.

Nothing in it is carried out when it is read: JSON, bytes, and a file that is read like any other checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash

from seg_runner.errors import CheckpointError
from seg_runner.files import write_whole

__all__ = [
    "ALIGNED",
    "DTYPES",
    "MANIFEST",
    "PLACEHOLDER",
    "REST",
    "Manifest",
    "Part",
    "Stored",
    "checkpoint_bytes",
    "digest_of",
    "is_checkpoint",
    "is_set",
    "read_manifest",
    "verify_set",
    "write_manifest",
]

MANIFEST, REST = "manifest.json", "rest.pth"
FORMAT = "seg-runner set 1"
PLACEHOLDER = "seg_runner.tensor"
"""The one key of a dict in `rest.pth` that stands for the tensor of this name."""
ALIGNED = 64  # bytes: where each part of a tensor begins
MOST_SIDES = 32
LONGEST, CHUNK = 2**28, 2**20  # bytes: of a manifest; read at once
DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128"),
        *("int64", "int32", "int16", "int8", "uint8", "bool"),
    )
    if hasattr(torch, name)
}


@dataclass(frozen=True)
class Part:
    """A block of a tensor: where it lies in the tensor, and in which file, from which byte on."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    begin: int


@dataclass(frozen=True)
class Stored:
    """A tensor: its type, its shape, its parts."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def itemsize(self) -> int:
        """Return the bytes of an element."""
        return int(DTYPES[self.dtype].itemsize)


@dataclass(frozen=True)
class Manifest:
    """What a set holds.

    Attributes:
        place: Where the run stood, as `read_place` gives it.
        files: Size in bytes and xxh3-128 of each file.
        tensors: The tensors that lie in shards.
        ranks: How many have written it.
    """

    place: dict[str, Any]
    files: dict[str, tuple[int, str]]
    tensors: dict[str, Stored] = field(default_factory=dict)
    ranks: int = 1


def is_set(path: Path) -> bool:
    """Tell whether a folder is a checkpoint, or what is left of one."""
    return path.is_dir() and ((path / MANIFEST).is_file() or (path / REST).is_file())


def is_checkpoint(path: Path) -> bool:
    """Tell whether a file, or a set of files, is there."""
    return path.is_file() or is_set(path)


def checkpoint_bytes(path: Path) -> int:
    """Return the size of a checkpoint on the disk, in bytes."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.iterdir() if each.is_file())
    return path.stat().st_size


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it beside the files that it names.

    Raises:
        OSError: It cannot be written.
    """
    content = {"format": FORMAT, "byteorder": sys.byteorder, **vars(manifest)}
    text = json.dumps(content, separators=(",", ":"), default=vars)
    data = text.encode() + b"\n"
    write_whole(folder / MANIFEST, data + xxhash.xxh3_128(data).hexdigest().encode() + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Read what a set says of itself; that its other files are whole is `verify_set`'s to say.

    Raises:
        CheckpointError: There is none, or it was damaged, or made to harm.
    """
    if not (folder / MANIFEST).is_file():  # a pipe would be waited for
        raise CheckpointError(f"{folder} is not a whole checkpoint: {MANIFEST} is missing")
    try:
        size = os.path.getsize(folder / MANIFEST)
        if size > LONGEST:
            raise CheckpointError(f"{folder / MANIFEST} is refused: it has {size:,} bytes")
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        cause = error.strerror or error
        raise CheckpointError(f"{folder} is not a whole checkpoint: its {MANIFEST} cannot be read ({cause})") from error
    text, _, digest = data.rstrip(b"\n").rpartition(b"\n")
    if xxhash.xxh3_128(text + b"\n").hexdigest().encode() != digest:
        raise CheckpointError(f"{folder / MANIFEST} was damaged: its bytes do not match their checksum")
    try:
        return _manifest_of(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST} is none of a checkpoint's: {error!r:.200}") from error


def _manifest_of(found: Mapping[str, Any]) -> Manifest:
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']!r:.60}, and {FORMAT!r} is known")
    if found["byteorder"] != sys.byteorder:
        raise ValueError("it was written on a machine with another order of bytes")
    files = {_name(name): (_whole(size), str(digest)) for name, (size, digest) in found["files"].items()}
    if REST not in files:
        raise ValueError(f"it does not name {REST}")
    manifest = Manifest(dict(found["place"]), files, ranks=_whole(found["ranks"]))
    declared = 0
    for key, given in found["tensors"].items():
        stored = Stored(given["dtype"], _wholes(given["shape"]), tuple(map(_part_of, given["parts"])))
        declared += _check(key, stored, files)
        manifest.tensors[key] = stored
    if declared > sum(size for size, _ in files.values()):
        raise ValueError(f"its tensors have {declared:,} bytes, more than its files")
    return manifest


def _part_of(given: Mapping[str, Any]) -> Part:
    return Part(_wholes(given["offsets"]), _wholes(given["sizes"]), given["file"], _whole(given["begin"]))


def _check(key: str, stored: Stored, files: Mapping[str, tuple[int, str]]) -> int:
    """Return the bytes of a tensor, whose parts lie in the files and in the tensor, and are all of it."""
    if len(stored.shape) > MOST_SIDES or math.prod(length or 1 for length in stored.shape) >= 2**60:
        raise ValueError(f"{key!r:.60} has a shape that no tensor has")
    elements = 0
    for part in stored.parts:
        count = math.prod(part.sizes)
        inside = len(part.sizes) == len(part.offsets) == len(stored.shape) and all(
            offset + size <= length for offset, size, length in zip(part.offsets, part.sizes, stored.shape, strict=True)
        )
        if not inside or part.begin % ALIGNED or part.begin + count * stored.itemsize > files[part.file][0]:
            raise ValueError(f"a part of {key!r:.60} lies outside of the tensor or the file")
        elements += count
    if elements != math.prod(stored.shape):
        raise ValueError(f"the parts of {key!r:.60} are not the whole tensor")
    return elements * stored.itemsize


def _name(name: str) -> str:
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r:.60} is no name of a file in a folder")
    return name


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**60:
        raise ValueError(f"{value!r:.60} is no count")
    return value


def _wholes(values: list[object]) -> tuple[int, ...]:
    return tuple(_whole(value) for value in values)


def verify_set(folder: Path, rank: int = 0, ranks: int = 1) -> None:
    """Check every byte of a set against the checksums in its manifest.

    Args:
        folder: The set.
        rank: Of several that share the work, this one.
        ranks: How many there are; each checks some of the files.

    Raises:
        CheckpointError: A file is missing, cut short, or changed.
    """
    for name, (size, digest) in list(read_manifest(folder).files.items())[rank::ranks]:
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{folder} is not a whole checkpoint: {name} is missing")
        if (there := os.path.getsize(path)) != size:
            raise CheckpointError(f"{path} has {there:,} bytes, and had {size:,}: it was cut or changed")
        if digest_of(path) != digest:
            raise CheckpointError(f"{path} was damaged: its bytes do not match their checksum")


def digest_of(path: Path) -> str:
    """Return the xxh3-128 of a file."""
    hasher, piece = xxhash.xxh3_128(), bytearray(CHUNK)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(piece):
            hasher.update(memoryview(piece)[:count])
    return hasher.hexdigest()
