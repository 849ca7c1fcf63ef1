"""What of a checkpoint lies in shards, and what in the rest: tensors that every rank has, or has a part of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from seg_runner.checkpoint.several.layout import DTYPES, PLACEHOLDER
from seg_runner.distributed.shards import is_sharded
from seg_runner.process.device import synchronize
from seg_runner.trees import map_paths, tensors_of

__all__ = ["Content", "Path", "alike_on_ranks", "nested", "split", "staged"]

Path = tuple[Any, ...]
"""The keys that lead to a tensor in a checkpoint."""
LEAST = 1024
"""Bytes of a tensor that is worth a place of its own; smaller ones lie in the rest."""


@dataclass
class Content:
    """What one rank brings for a set.

    Attributes:
        rest: The checkpoint without the tensors of the shards; that of rank 0 is written.
        tensors: The tensors by name: whole ones, which all ranks have, or ones of which this rank has a part.
        paths: Where each belongs in the checkpoint.
    """

    rest: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    paths: dict[str, Path]


def split(
    payload: Mapping[str, Any], shared: Callable[[Path], bool]
) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, Path]]:
    """Return the rest of a checkpoint, the tensors for the shards by their names, and where each of them belongs.

    The names are the same on all ranks, in the same order.

    Args:
        payload: The checkpoint.
        shared: Tells of a place whether the tensor there is the same on all ranks.

    >>> rest, tensors, paths = split({"state_dict": {"w": torch.zeros(512), "b": torch.zeros(2)}}, lambda path: True)
    >>> rest, list(tensors)
    ({'state_dict': {'w': {'seg_runner.tensor': 'state_dict/w'}, 'b': tensor([0., 0.])}}, ['state_dict/w'])
    """
    tensors: dict[str, torch.Tensor] = {}
    paths: dict[str, Path] = {}
    names: dict[Hashable, str] = {}  # tied weights are one tensor
    seen_otherwise = _seen_otherwise(tensors_of(payload))

    def take(path: Path, value: Any) -> object:
        if not isinstance(value, torch.Tensor):
            return value
        if not is_sharded(value) and not (_is_whole(value) and shared(path) and _memory(value) not in seen_otherwise):
            return value
        place = _place(value)
        if place not in names:
            name = "/".join(map(str, path))
            while name in tensors:
                name += "'"
            names[place], tensors[name], paths[name] = name, value.detach(), path
        return {PLACEHOLDER: names[place]}

    return map_paths(payload, take), tensors, paths


def _place(value: torch.Tensor) -> Hashable:
    """Return what tied tensors have in common; gradients of FSDP2 lie one after the other in the same memory."""
    own = value.to_local() if is_sharded(value) else value
    return _memory(value), own.storage_offset(), value.shape


def _memory(value: torch.Tensor) -> int:
    """Return what tensors in the same memory have in common, on a rank that has nothing of it, too."""
    own = value.to_local() if is_sharded(value) else value
    return int(own.untyped_storage()._cdata)


def _seen_otherwise(tensors: list[torch.Tensor]) -> set[int]:
    """Return the memory that lies under views of several kinds: it stays in the rest, where they go on sharing it."""
    forms: dict[int, tuple[torch.Size, torch.dtype]] = {}
    found = set()
    for tensor in tensors:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout is not torch.strided:
            continue
        form = tensor.shape, tensor.dtype
        if not _is_whole(tensor) or forms.setdefault(_memory(tensor), form) != form:
            found.add(_memory(tensor))
    return found


def staged(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return copies on the CPU, of sharded tensors of this rank's part, which training does not change any more."""
    copies = {name: tensor.to("cpu", copy=True, non_blocking=False) for name, tensor in tensors.items()}
    synchronize()
    return copies


def alike_on_ranks(parameters: Collection[str]) -> Callable[[Path], bool]:
    """Return what tells of a place whether all ranks have the same there, as DDP leaves it.

    Buffers are each rank's own; a file holds those of rank 0.

    Args:
        parameters: Names of the model's parameters.
    """

    def tell(path: Path) -> bool:
        if path[0] in ("state_dict", "ema_state_dict") and len(path) == 2:
            return str(path[1]).removeprefix("module.") in parameters
        return bool(path[0] == "optimizer")

    return tell


def nested(tensors: Mapping[Path, torch.Tensor]) -> dict[Any, Any]:
    """Return tensors as they lie in a checkpoint, by their paths.

    >>> nested({("a", 1): 5, ("a", 2): 6})
    {'a': {1: 5, 2: 6}}
    """
    tree: dict[Any, Any] = {}
    for path, tensor in tensors.items():
        inner = tree
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = tensor
    return tree


def _is_whole(value: torch.Tensor) -> bool:
    """Tell whether a tensor is plain, of a size worth it, and all that its memory holds."""
    plain = type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout is torch.strided and not value.is_meta
    if not plain or value.nbytes < LEAST or not value.is_contiguous() or value.is_conj() or value.is_neg():
        return False
    known = str(value.dtype).removeprefix("torch.") in DTYPES and not value.is_quantized
    return known and value.untyped_storage().nbytes() == value.nbytes
