"""One walk over nested values: dicts, lists and tuples with tensors in them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

__all__ = ["tensors_of", "to_device"]


def map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same tree with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, OrderedDict):
        return _ordered({key: map_tensors(item, change) for key, item in value.items()}, value)
    if isinstance(value, dict) and not isinstance(value, Counter):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map_tensors(item, change) for item in value)
    return value


def tensors_of(value: Any) -> list[torch.Tensor]:
    """All tensors of a tree, in order."""
    found: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    map_tensors(value, keep)
    return found


def _ordered(items: dict[Any, Any], like: Any) -> OrderedDict[Any, Any]:
    result = OrderedDict(items)
    if hasattr(like, "_metadata"):
        result._metadata = like._metadata  # type: ignore[attr-defined]
    return result


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor on the device; containers and samples are copied, everything else is shared.

    Example:
        >>> to_device({"image": torch.zeros(2), "name": "a"}, torch.device("meta"))["image"].device
        device(type='meta')
    """
    if isinstance(batch, torch.Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    if hasattr(batch, "to_dict") and hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    return batch


def tensors_in(batch: Any) -> Iterator[torch.Tensor]:
    """All tensors of a batch."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        yield from (tensor for value in batch.values() for tensor in tensors_in(value))
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        yield from (tensor for value in batch for tensor in tensors_in(value))
    elif hasattr(batch, "to_dict"):
        yield from tensors_in(batch.to_dict())
