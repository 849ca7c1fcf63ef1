"""What goes into a checkpoint: turning it into tensors and plain values, moving it to the CPU, copying it aside."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from seg_runner.process.device import can_pin, synchronize
from seg_runner.trees import map_tensors, tensors_of

__all__ = ["Staging", "Storages", "own", "payload_bytes", "storages_of", "to_cpu", "to_plain", "total_bytes"]

Storage = torch.UntypedStorage
Storages = dict[int, Storage]
_NUMBERS = {float, int, bool, type(None), str}
_PLAIN = (Counter, str, bytes, int, float, bool, complex, type(None), torch.Size, torch.device, torch.dtype)


def to_plain(value: object, path: str = "") -> Any:
    """Return the same tree of dicts, lists, tuples, tensors and plain values, and nothing else.

    Numpy's numbers and arrays, paths, and subclasses of dict, list, str become plain ones.

    Raises:
        TypeError: Anything else; the message names the path to it.

    >>> to_plain({"score": np.float32(0.5), "names": ("a",)})
    {'score': 0.5, 'names': ('a',)}
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach() if kind in (torch.Tensor, torch.nn.Parameter) else _plain_tensor(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, path)
    if kind is list and _NUMBERS.issuperset(map(type, value)):  # type: ignore[call-overload]
        return value.copy()  # type: ignore[attr-defined] # a history, which grows with the run
    if isinstance(value, list | tuple | set | frozenset):
        items = [to_plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items if isinstance(value, list) else set(items)
    return _plain_leaf(value, path)


def _plain_mapping(value: Mapping[Any, Any], path: str) -> dict[Any, Any]:
    items = {to_plain(key, path): to_plain(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if not isinstance(value, OrderedDict):
        return items
    ordered = OrderedDict(items)
    if hasattr(value, "_metadata"):  # torch keeps the versions of modules there
        ordered._metadata = to_plain(dict(value._metadata))  # type: ignore[attr-defined]
    return ordered


def _plain_leaf(value: object, path: str) -> Any:
    if isinstance(value, np.generic):
        return to_plain(value.item(), path)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist(), path)
    for base in (int, float, str, bytes, complex):
        if isinstance(value, base):
            plain: Any = base
            return plain.__new__(plain, value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"checkpoint[{path!r}] is a {type(value).__module__}.{type(value).__qualname__}: a checkpoint holds tensors, "
        f"numbers, strings, and dicts and lists of them. Convert it in state_dict()."
    )


def _plain_tensor(value: torch.Tensor) -> torch.Tensor:
    full = getattr(value, "full_tensor", None)
    if callable(full):  # a DTensor
        return full().detach()  # type: ignore[no-any-return]
    return value.detach().as_subclass(torch.Tensor)


def payload_bytes(value: object) -> int:
    """Return the bytes of all tensors, shared memory counted once."""
    return total_bytes(storages_of(value))


def total_bytes(storages: Storages) -> int:
    """Return the bytes of all of them."""
    return sum(storage.nbytes() for storage in storages.values())


def storages_of(value: object) -> Storages:
    """Return the memory that all tensors lie in, each once."""
    storages = [tensor.untyped_storage() for tensor in tensors_of(value) if _is_strided(tensor)]
    return {storage._cdata: storage for storage in storages}


def own(value: object) -> Any:
    """Return the same tree in memory of its own: tensors read from a mapped file no longer depend on it.

    Lists and dicts that occur twice are copied once.
    """
    return map_tensors(value, torch.Tensor.clone, {})


def _is_strided(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor lies in memory of its own; one whose class answers for its operators may hold none."""
    plain = type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
    return plain and tensor.layout is torch.strided and not tensor.is_meta


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def to_cpu(value: object) -> Any:
    """Return the same tree on the CPU; shared memory stays shared, and a small view of a large one is cut out.

    A tree that is so already comes back as it is.
    """
    tensors = tensors_of(value)
    wasteful = _wasteful(tensors)
    if not wasteful and all(tensor.is_cpu and not (tensor.is_conj() or tensor.is_neg()) for tensor in tensors):
        return value
    kept: dict[int, Storage] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if not _is_strided(tensor):
            return tensor.cpu()
        if wasteful and _key(tensor) in wasteful:
            return tensor.detach().cpu().clone()
        if tensor.device.type == "cpu":
            return tensor.resolve_conj().resolve_neg() if tensor.is_conj() or tensor.is_neg() else tensor
        if _key(tensor) not in kept:
            kept[_key(tensor)] = tensor.untyped_storage().cpu()  # type: ignore[no-untyped-call]
        return _on(kept[_key(tensor)], tensor)

    return map_tensors(value, move)


def _wasteful(tensors: list[torch.Tensor]) -> set[int]:
    """Return storages of which less than half is used."""
    if all(map(_covers, filter(_is_strided, tensors))):
        return set()
    used: dict[int, int] = {}
    size: dict[int, int] = {}
    seen: set[tuple[int, int, int]] = set()
    for tensor in filter(_is_strided, tensors):
        key = _key(tensor)
        size[key] = tensor.untyped_storage().nbytes()
        part = (key, int(tensor.storage_offset()), tensor.numel())
        if part not in seen:
            used[key] = used.get(key, 0) + tensor.numel() * tensor.element_size()
        seen.add(part)
    return {key for key in size if used[key] * 2 < size[key]}


def _on(storage: Storage, like: torch.Tensor) -> torch.Tensor:
    empty = torch.empty(0, dtype=like.dtype, device="cpu")
    return empty.set_(storage, like.storage_offset(), like.size(), like.stride())


def _covers(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is all that its memory holds."""
    return tensor.nbytes == tensor.untyped_storage().nbytes()


class Staging:
    """Buffers that a checkpoint is copied into before it is written beside training; kept from save to save.

    Copies whole storages, so shared memory stays shared and the file equals the one written directly.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []

    def copy(self, value: object) -> Any:
        """Return a consistent copy of the tree on the CPU; the one before it is overwritten."""
        wasteful = _wasteful(tensors_of(value))
        done: dict[int, torch.Tensor] = {}

        def stage(tensor: torch.Tensor) -> torch.Tensor:
            if not _is_strided(tensor):
                return tensor.detach().cpu().clone()
            source = tensor.untyped_storage()
            key = source._cdata
            if key in wasteful:
                return tensor.detach().cpu().clone()
            if key in done:
                return _on(done[key].untyped_storage(), tensor)
            if tensor.is_cpu and tensor.nbytes == source.nbytes() and tensor.is_contiguous():  # most are: the cheap way
                done[key] = self._take(len(done), tensor.shape, tensor.dtype)
                return done[key].copy_(tensor)
            source = tensor.resolve_conj().resolve_neg().untyped_storage()
            pinned = can_pin(tensor.device.type)
            done[key] = self._take(len(done), (source.nbytes(),), torch.uint8, pinned)
            done[key].untyped_storage().copy_(source, non_blocking=pinned)
            return _on(done[key].untyped_storage(), tensor)

        result = map_tensors(value, stage)
        synchronize()
        return result

    def _take(self, number: int, shape: Sequence[int], dtype: torch.dtype, pinned: bool = False) -> torch.Tensor:
        """Return the buffer of that number, made anew where it does not fit."""
        if number == len(self._buffers):
            self._buffers.append(torch.empty(shape, dtype=dtype, pin_memory=pinned))
        kept = self._buffers[number]
        if kept.shape != shape or kept.dtype != dtype:
            kept = self._buffers[number] = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        return kept
