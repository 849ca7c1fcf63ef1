"""A batch on its way from a worker to the main process: all of its tensors in one block of shared memory."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.utils.data import get_worker_info

__all__ = ["InOneBlock"]

Place = tuple[torch.dtype, int, torch.Size, tuple[int, ...]]
"""Where a tensor lies in the block: type, first element (counted in that type), shape, strides."""

ALIGNED = 64
"""Bytes; each storage begins at a multiple, as torch's own do."""


class InOneBlock:
    """A collate function whose batch leaves a worker as one block of shared memory, and arrives as it was.

    torch sends each tensor as a file of its own, which the main process fetches by a socket, opens and maps, and it
    computes nothing meanwhile. A batch of 4 images with label maps has 8 tensors. Here the bytes are copied once, as
    torch does, but side by side, and one file is sent. In the main process the tensors are views of that block: whoever
    keeps one of them keeps the block.

    Args:
        collate: The user's function, called with the samples of a batch.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Any) -> Any:
        """Return the batch; in a worker, what becomes the batch in the main process."""
        batch = self.collate(samples)
        return batch if get_worker_info() is None else _Packed(batch)


class _Packed:
    """A batch in pickled form, with its tensors beside it; unpickled, it is the batch itself."""

    def __init__(self, batch: object) -> None:
        file = io.BytesIO()
        packer = _Packer(file)
        packer.dump(batch)
        self.content, self.block = file.getvalue(), packer.block()

    def __reduce__(self) -> tuple[Callable[..., object], tuple[bytes, torch.Tensor | None]]:
        return _unpacked, (self.content, self.block)


class _Packer(ForkingPickler):
    """Pickles a batch, and writes down where each of its tensors will lie instead of the tensor."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._storages: dict[int, tuple[int, torch.UntypedStorage]] = {}  # views of one stay views of one
        self._places: dict[int, tuple[int, Place]] = {}  # by tensor: one that is there twice arrives as one
        self._seen: list[torch.Tensor] = []  # kept, since ids of what is freed come again
        self._size = 0

    def persistent_id(self, value: object) -> tuple[int, Place] | None:
        """Return number and place of a tensor; None for everything else, which is pickled as ever."""
        if type(value) is not torch.Tensor or not _is_plain(value):
            return None
        if id(value) not in self._places:
            storage = value.untyped_storage()
            key = storage._cdata  # not its address: a longer storage may begin there, too (parts of one array of numpy)
            if key not in self._storages:
                self._storages[key] = self._size, storage
                self._size += -(-storage.nbytes() // ALIGNED) * ALIGNED
            self._seen.append(value)
            begin = self._storages[key][0] // value.element_size() + int(value.storage_offset())
            self._places[id(value)] = len(self._places), (value.dtype, begin, value.shape, value.stride())
        return self._places[id(value)]

    def block(self) -> torch.Tensor | None:
        """Return all storages as bytes in shared memory; None where there are no tensors."""
        if not self._size:
            return None
        block = _bytes_of(torch.UntypedStorage._new_shared(self._size))  # type: ignore[no-untyped-call]
        for begin, storage in self._storages.values():
            block[begin : begin + storage.nbytes()].copy_(_bytes_of(storage))
        return block


class _Unpacker(pickle.Unpickler):
    """Reads what `_Packer` wrote."""

    def __init__(self, content: bytes, block: torch.Tensor | None) -> None:
        super().__init__(io.BytesIO(content))
        self._block = block
        self._made: dict[int, torch.Tensor] = {}

    def persistent_load(self, found: tuple[int, Place]) -> torch.Tensor:
        """Return the tensor that lies at this place of the block."""
        number, (dtype, begin, shape, strides) = found
        if number not in self._made:
            assert self._block is not None
            storage = self._block.untyped_storage()
            self._made[number] = torch.empty(0, dtype=dtype).set_(storage, begin, shape, strides)
        return self._made[number]


def _unpacked(content: bytes, block: torch.Tensor | None) -> object:
    """Return the batch."""
    return _Unpacker(content, block).load()


def _is_plain(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is nothing but numbers in main memory, still its worker's own."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.requires_grad or tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and tensor.untyped_storage().nbytes() > 0
        and not tensor.is_shared()  # type: ignore[no-untyped-call]
    )


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)
