"""Reading a checkpoint file in time and memory of its own size, whatever it declares."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

__all__ = ["check_sizes", "load_bounded"]

UNPACKED, ROOM = 10, 2**20  # a compressed part may become so many times its bytes, and so many bytes more
DECLARED, DECLARED_ROOM = 16, 2**28  # the bytes of all tensors over those of the file, and bytes more
UNFOLDED, FEW = 100, 1_000_000  # values, shared ones counted where they occur, over how many there are; so many always
DEPTH = 200


def load_bounded(path: Path) -> Any:
    """Read a file, in memory of its own.

    Tensors are mapped from the file first, where none can be larger than what is there, and are copied once all was
    looked at.

    Raises:
        ValueError: It declares more than its size can hold, or values that share one another without end.
    """
    size = path.stat().st_size
    mapped = zipfile.is_zipfile(path)
    if mapped:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive, size)
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    check_values(content, size)
    return copied(content, {})


def check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse a zip of `size` bytes whose parts are larger than what it can hold; none of them is read."""
    records = archive.infolist()
    stored = sum(record.file_size for record in records if record.compress_type == zipfile.ZIP_STORED)
    unpacked = sum(record.file_size for record in records) - stored
    if stored > size or unpacked > UNPACKED * size + ROOM:
        raise ValueError(f"its {size:,} bytes unpack to {stored + unpacked:,}; checkpoints are not compressed")


def check_values(content: object, size: int) -> None:
    """Refuse what cannot be walked in the time that a file of `size` bytes is worth."""
    seen: dict[int, int] = {}
    tensors = 0

    def count(value: Collection[object] | torch.Tensor, depth: int) -> int:
        nonlocal tensors
        if isinstance(value, torch.Tensor):
            tensors += value.nbytes if value.layout is torch.strided else 0  # of a sparse one most is not there
            return 1
        if depth > DEPTH:
            raise ValueError(f"its values are nested more than {DEPTH} deep")
        if id(value) not in seen:
            inner = value.values() if isinstance(value, dict) else value
            walked = (dict, list, tuple, set, torch.Tensor)
            seen[id(value)] = len(value) + sum(count(each, depth + 1) for each in inner if isinstance(each, walked))
        return seen[id(value)]

    unfolded = count(content, 0) if isinstance(content, dict | list | tuple) else 1
    if unfolded > FEW and unfolded > UNFOLDED * size:
        raise ValueError(f"its lists contain one another and expand to {float(unfolded):.1e} values")
    if tensors > DECLARED * size + DECLARED_ROOM:
        raise ValueError(f"its {size:,} bytes declare tensors of {tensors:,} bytes")


def copied(value: object, done: dict[object, object]) -> object:
    """Return the same tree with tensors of its own; what occurs twice is copied once."""
    if isinstance(value, torch.Tensor):
        key = place_of(value)
        if key not in done:
            done[key] = value.detach().clone()
        return done[key]
    if id(value) in done:
        return done[id(value)]
    if type(value) is dict:
        done[id(value)] = {key: copied(each, done) for key, each in value.items()}
    elif type(value) is list:
        done[id(value)] = [copied(each, done) for each in value]
    elif type(value) is tuple:
        done[id(value)] = tuple(copied(each, done) for each in value)
    else:
        return _copied_ordered(value, done) if isinstance(value, dict) and not hasattr(value, "elements") else value
    return done[id(value)]


def place_of(value: torch.Tensor) -> object:
    """Return what two tensors have in common that are one and the same part of one storage, such as tied weights."""
    if value.layout is not torch.strided or value.is_quantized or not value.numel():
        return id(value)
    view = (value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
    return (*view, value.is_conj(), value.is_neg())


def _copied_ordered(value: dict[object, object], done: dict[object, object]) -> object:
    """Copy the values of an OrderedDict in place: torch keeps the versions of modules in an attribute of it."""
    for key in value:
        value[key] = copied(value[key], done)
    return value
