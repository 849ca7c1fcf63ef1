"""What a file may claim: all that it declares is held against its size before anything is made of it.

A few hundred bytes can declare a tensor of a terabyte, unpack to gigabytes, or hold lists within lists that share one
another and unfold to more values than there are atoms. Such a file is refused, in time and memory of its own size.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable

import torch

__all__ = [
    "ExcessiveError",
    "check_call",
    "check_key",
    "check_pickle",
    "check_tensor",
    "check_tree",
    "records_of",
]

UNPACKED, ROOM = 10, 2**20
"""A compressed part may become so many times its bytes, and so many bytes more."""
DECLARED, DECLARED_ROOM = 16, 2**28
"""The bytes of all tensors (views of one memory each counted) over those of the file, and bytes more."""
UNFOLDED, FEW = 100, 1_000_000
"""How many values there may be, shared ones counted where they occur, over the bytes of the file; so many always."""
DEPTH = 200


class ExcessiveError(ValueError):
    """A file that declares more than it can hold."""


def records_of(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """Return the parts of a zip of `size` bytes, none of them read.

    Raises:
        ExcessiveError: Together they are larger than what the file can hold.
    """
    records = archive.infolist()
    packed = [record for record in records if record.compress_type != zipfile.ZIP_STORED]
    if sum(record.file_size for record in records if record.compress_type == zipfile.ZIP_STORED) > size:
        raise ExcessiveError(f"its parts are larger than its {size:,} bytes")
    unpacked = sum(record.file_size for record in packed)
    if unpacked > UNPACKED * size + ROOM:
        raise ExcessiveError(f"its {size:,} bytes unpack to {unpacked:,}; checkpoints are not compressed")
    return records


# ------------------------------------------------------------------------------------------- the text of a pickle

_OPERATIONS = re.compile(
    rb"(?:[()NQRabestu}\]\x85-\x89]|[Kqh\x80].|M..|[Jj]....|r..[\x00-\x3f]\x00|G.{8}|c[^\n]*\n[^\n]*\n)++", re.DOTALL
)
_LENGTHS = {ord("X"): 4, ord("T"): 4, ord("B"): 4, 0x8B: 4, ord("U"): 1, ord("C"): 1, 0x8A: 1, 0x8C: 1}
_USES = re.compile(  # what is taken from the memo, or kept there after what may leave a tuple on the stack; all else
    rb"(h.|j....|[abestu\x85-\x87](?:q.|r....))"
    rb"|(?:[()NQR}\]]|[abestu\x85-\x87](?![qr])|[Kq\x80].|M..|J....|r....|G.{8}|c[^\n]*\n[^\n]*\n)++",
    re.DOTALL,
)


def check_pickle(data: bytes) -> None:
    """Read a pickle's operations, but carry out none: only what `torch.save` writes may be in it.

    The unpickler in C makes room for the highest number that a value is kept under, and the hash of a tuple that holds
    tuples that hold tuples takes as long as all of them together; so numbers are small, and no tuple is used twice.

    Raises:
        ExcessiveError: There is something else.
    """
    place, texts = 0, []
    while True:
        found = _OPERATIONS.match(data, place)
        if found is not None:
            texts.append(found[0])
            place = found.end()
        operation = data[place] if place < len(data) else None
        if operation == ord("."):
            break
        if operation not in _LENGTHS:
            raise ExcessiveError("its pickle is none of a checkpoint's")
        width = _LENGTHS[operation]
        place += 1 + width + int.from_bytes(data[place + 1 : place + 1 + width], "little")
    uses = set(_USES.findall(b"N".join(texts)))  # a text, like None, is no tuple
    if {use[1:] for use in uses if use[:1] in (b"h", b"j")} & {use[2:] for use in uses if use[:1] not in (b"h", b"j")}:
        raise ExcessiveError("its pickle uses a tuple twice")


# --------------------------------------------------------------------------------------------- what a pickle makes


def check_call(name: str, arguments: Iterable[object], size: int) -> None:
    """Refuse numbers that a file gives to a function and that are larger than the file: sizes, mostly."""
    for each in arguments:
        if isinstance(each, int) and each > size + FEW:
            raise ExcessiveError(f"its {size:,} bytes give {each:,} to {name}")
        if isinstance(each, tuple):
            check_call(name, each, size)


def check_key(key: object, depth: int = 3) -> None:
    """Refuse keys of dicts and members of sets whose hash could take for ever."""
    if isinstance(key, tuple | frozenset):
        if not depth or len(key) > FEW:
            raise ExcessiveError("a key of a dict holds tuples within tuples")
        for each in key:
            check_key(each, depth - 1)


def check_tensor(elements: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    """Refuse a tensor that reaches beyond its memory of so many elements; a file may give any values for the others."""
    numbers = [offset, *size, *stride]
    if not all(type(number) is int and number >= 0 for number in numbers) or len(size) != len(stride):
        raise ExcessiveError(f"a tensor of shape {tuple(size)} and strides {tuple(stride)}")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 not in size and last >= elements:
        raise ExcessiveError(f"a tensor of shape {tuple(size)} is declared over {elements:,} elements")


def check_tree(content: object, size: int) -> None:
    """Refuse what cannot be walked in the time that a file of `size` bytes is worth.

    Raises:
        ExcessiveError: Values nested too deeply, or sharing one another without end, or tensors larger than the file.
    """
    seen: dict[int, int] = {}
    declared = 0

    def count(value: object, depth: int) -> int:
        nonlocal declared
        if isinstance(value, torch.Tensor):
            declared += value.nbytes if value.layout is torch.strided else 0  # of a sparse one most is not there
            return 1
        if not isinstance(value, dict | list | tuple | set | frozenset):
            return 0
        if depth > DEPTH:
            raise ExcessiveError(f"its values are nested more than {DEPTH} deep")
        if id(value) not in seen:
            inner = value.values() if isinstance(value, dict) else value
            seen[id(value)] = len(value) + sum(count(each, depth + 1) for each in inner if isinstance(each, _WALKED))
        return seen[id(value)]

    unfolded = count(content, 0)
    if unfolded > FEW and unfolded > UNFOLDED * size:
        raise ExcessiveError(f"its lists share one another and unfold to {float(unfolded):.1e} values")
    if declared > DECLARED * size + DECLARED_ROOM:
        raise ExcessiveError(f"its {size:,} bytes declare tensors of {declared:,} bytes")


_WALKED = (dict, list, tuple, set, frozenset, torch.Tensor)
