"""Objects from rank to rank. torch's own functions for that need NumPy, which this package does not bring."""

from __future__ import annotations

import ctypes
import pickle
from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ["all_gather", "broadcast", "gather"]


def _packed(value: object) -> Tensor:
    """Return the bytes of an object, in a tensor on the CPU."""
    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)


def _unpacked(content: Tensor, length: int) -> Any:
    """Return the object whose bytes a tensor begins with."""
    return pickle.loads(ctypes.string_at(content.data_ptr(), length))


def broadcast(value: object, group: Any) -> Any:
    """Return the object of rank 0, on all ranks."""
    first = distributed.get_rank() == 0
    content = _packed(value) if first else torch.empty(0, dtype=torch.uint8)
    length = torch.tensor(content.numel())
    distributed.broadcast(length, src=0, group=group)
    if not first:
        content = torch.empty(int(length), dtype=torch.uint8)
    distributed.broadcast(content, src=0, group=group)
    return value if first else _unpacked(content, int(length))


def all_gather(value: object, group: Any) -> list[Any]:
    """Return the objects of all ranks in their order, on all ranks."""
    content, lengths = _padded(value, group)
    found = [torch.empty_like(content) for _ in lengths]
    distributed.all_gather(found, content, group=group)
    return [_unpacked(each, length) for each, length in zip(found, lengths, strict=True)]


def gather(value: object, group: Any) -> list[Any]:
    """Return the objects of all ranks in their order on rank 0, and an empty list on the others."""
    content, lengths = _padded(value, group)
    found = [torch.empty_like(content) for _ in lengths] if distributed.get_rank() == 0 else None
    distributed.gather(content, found, dst=0, group=group)
    return [_unpacked(each, length) for each, length in zip(found or [], lengths, strict=False)]


def _padded(value: object, group: Any) -> tuple[Tensor, list[int]]:
    """Return the bytes of an object, as many as the longest of any rank's has, and the lengths of all."""
    content = _packed(value)
    lengths = [torch.tensor(0) for _ in range(distributed.get_world_size())]
    distributed.all_gather(lengths, torch.tensor(content.numel()), group=group)
    numbers = [int(each) for each in lengths]
    return torch.nn.functional.pad(content, (0, max(numbers) - content.numel())), numbers
