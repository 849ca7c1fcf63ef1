"""The pickler that `torch.save` is given: what it writes is read as ever, at a third of the time for each tensor.

`torch.save` asks of every single value whether it is a storage, and builds a dict of hooks for each tensor, which a
checkpoint has none of: for ten thousand small tensors that takes longer than writing their bytes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import IO, Any

import torch
from torch.storage import TypedStorage

__all__ = ["Pickler"]

_COMMON = frozenset(
    {
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    }
)


class Pickler:
    """Stands in for `pickle.Pickler`; torch adds `persistent_id`, which names a storage and has its bytes written."""

    persistent_id: Callable[[object], object]

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        self.file, self.protocol = file, protocol

    def dump(self, payload: object) -> None:
        """Pickle what `to_plain` returns: plain values, and tensors without a gradient, hooks or attributes."""
        _Tensors(self.file, self.protocol, self.persistent_id).dump(payload)


class _Tensors(pickle.Pickler):
    """Asks torch about storages alone, and takes tensors apart itself."""

    def __init__(self, file: IO[bytes], protocol: int, name: Callable[[object], object]) -> None:
        super().__init__(file, protocol)
        self.name = name

    def persistent_id(self, value: object) -> object:
        """Return torch's name of a storage; None for any other value."""
        return self.name(value) if type(value) is TypedStorage or type(value) is torch.UntypedStorage else None

    def reducer_override(self, value: Any) -> Any:
        """Return how a plain tensor on the CPU is built again; of anything else as its class says."""
        if type(value) is not torch.Tensor or value.dtype not in _COMMON or not _is_plain(value):
            return NotImplemented
        memory, dtype = value.untyped_storage(), value.dtype
        storage = TypedStorage(wrap_storage=memory, dtype=dtype, _internal=True)  # type: ignore[no-untyped-call]
        place = (storage, value.storage_offset(), tuple(value.shape), value.stride())
        return torch._utils._rebuild_tensor_v2, (*place, False, None)  # no gradient, no hooks


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.is_cpu and tensor.layout is torch.strided and not tensor.requires_grad and not tensor.is_neg()
