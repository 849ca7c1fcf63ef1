"""Reading our own files mapped into memory, at a fraction of what `torch.load` spends on each tensor.

`torch.load(weights_only=True)` unpickles in python and looks three times per tensor whether a fake mode is on: for a
thousand small tensors that takes longer than reading their bytes.
"""

from __future__ import annotations

import io
import mmap
import pickle
import sys
import zipfile
from collections import Counter, OrderedDict
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

from seg_runner.checkpoint.bounds import check_pickle, records_of

__all__ = ["read_mapped"]

Storage = tuple[torch.UntypedStorage, torch.dtype]
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def read_mapped(path: Path) -> Any:
    """Read a file of `write_checkpoint`; its tensors lie in the mapped file, copy on write.

    Raises:
        Exception: Anything but tensors and plain values is in it, or it is broken. `torch.load` says what is wrong.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places = _places(file, data)
        if _content(data, places["byteorder"]).decode() != sys.byteorder:
            raise ValueError("written on a machine with another order of bytes")
        pickled = _content(data, places["data.pkl"])
    check_pickle(pickled)
    whole: Any = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    return _Mapped(pickled, whole, places).load()


def _places(file: IO[bytes], data: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Return begin and size of each record of the zip, whose records are not compressed."""
    found = {}
    with zipfile.ZipFile(file) as archive:
        for record in records_of(archive, len(data)):
            at = record.header_offset  # the lengths of name and padding stand there, after which the bytes begin
            begin = at + 30 + data[at + 26] + data[at + 28] + 256 * (data[at + 27] + data[at + 29])
            found[record.filename.partition("/")[2]] = (begin, record.file_size)
    return found


def _content(data: mmap.mmap, place: tuple[int, int]) -> bytes:
    return data[place[0] : place[0] + place[1]]


class _Mapped(pickle.Unpickler):
    """Builds tensors over a mapped file, and plain values; every other name ends the reading."""

    def __init__(self, pickled: bytes, whole: torch.UntypedStorage, places: dict[str, tuple[int, int]]) -> None:
        super().__init__(io.BytesIO(pickled))
        self.whole, self.places = whole, places
        self.made: dict[str, torch.UntypedStorage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for the name; a pickle may set attributes of it, so nothing that keeps any is given."""
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        found = _BUILDERS.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} is not built here")
        return found if isinstance(found, type) and found is not Counter else partial(found)

    def persistent_load(self, pid: tuple[object, ...]) -> Storage:
        """Return a storage: its part of the mapped file, and the dtype of its elements."""
        kind, dtype, key, place, _ = pid
        if kind != "storage" or place != "cpu" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError(f"{pid} is no storage of a checkpoint")
        if key not in self.made:
            begin, size = self.places[f"data/{key}"]
            self.made[key] = self.whole[begin : begin + size]
        return self.made[key], dtype


def _tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], grad: bool, hooks: object
) -> torch.Tensor:
    """Rebuild a tensor as `torch._utils._rebuild_tensor_v2` does; those of a checkpoint ask for no gradient.

    A tensor that reaches beyond its part of the file is an error: mapped memory cannot grow.
    """
    if grad or hooks:
        raise pickle.UnpicklingError("a tensor that asks for a gradient")
    return torch.empty((0,), dtype=storage[1]).set_(storage[0], offset, size, stride)


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes as protocol 2 writes them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("an encoded text")
    return text.encode("latin1")


def _bytes(data: object = b"") -> bytearray:
    """Return a bytearray of bytes; a number would be a size."""
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a bytearray of a size")
    return bytearray(data)


_BUILDERS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
} | {
    (module, name): kind
    for module in ("builtins", "__builtin__")
    for name, kind in (("set", set), ("complex", complex), ("bytearray", _bytes))
}
