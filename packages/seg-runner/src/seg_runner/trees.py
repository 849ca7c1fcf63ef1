"""Trees of tensors, such as batches and checkpoints: one walk over dicts, lists, tuples and what lies in them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch

__all__ = ["map_leaves", "map_paths", "map_tensors", "tensors_of", "to_device"]

_CONTAINERS, _LEAVES = (Mapping, list, tuple), (Counter, torch.Size)
"""What is looked into, and which of these hold no tensors."""
_NUMBERS = {int, float, bool, type(None), str}


def map_leaves(value: object, change: Callable[[Any], object], done: dict[int, object] | None = None) -> Any:
    """Return a copy of a tree in which everything that is no dict, list or tuple is changed.

    Counters and sizes hold no tensors and are leaves, too.

    Args:
        value: The tree.
        change: Called with each leaf; returns what stands in its place.
        done: Filled with the containers that are copied, by identity; those that occur twice are then copied once.

    >>> map_leaves({"a": [1, (2, 3)]}, str)
    {'a': ['1', ('2', '3')]}
    """
    if not isinstance(value, _CONTAINERS) or isinstance(value, _LEAVES):
        return change(value)
    if done is not None and id(value) in done:
        return done[id(value)]
    copied: object
    if isinstance(value, Mapping):
        items = {key: map_leaves(item, change, done) for key, item in value.items()}
        copied = _ordered(items, value) if isinstance(value, OrderedDict) else items
    else:
        listed = [map_leaves(item, change, done) for item in value]
        copied = type(value)(*listed) if hasattr(value, "_fields") else type(value)(listed)
    if done is not None:
        done[id(value)] = copied
    return copied


def map_paths(value: object, change: Callable[[tuple[Any, ...], Any], object], path: tuple[Any, ...] = ()) -> Any:
    """Return a copy of a tree in which values are changed, containers among them, by where they lie.

    Args:
        value: The tree.
        change: Called with the keys that lead to a value, and the value; returns what stands in its place. A container
            that comes back as it is is looked into.
        path: The keys that lead to the tree itself.

    >>> map_paths({"a": [1, 2]}, lambda path, value: 0 if path == ("a", 1) else value)
    {'a': [1, 0]}
    """
    changed = change(path, value)
    if changed is not value or not isinstance(value, _CONTAINERS) or isinstance(value, _LEAVES):
        return changed
    if isinstance(value, Mapping):
        items = {key: map_paths(item, change, (*path, key)) for key, item in value.items()}
        return _ordered(items, value) if isinstance(value, OrderedDict) else items
    listed = [map_paths(item, change, (*path, number)) for number, item in enumerate(value)]
    return type(value)(*listed) if hasattr(value, "_fields") else type(value)(listed)


def _ordered(items: dict[object, object], like: OrderedDict[Any, Any]) -> OrderedDict[object, object]:
    """Return the items as an OrderedDict with the attribute in which torch keeps the versions of modules."""
    result = OrderedDict(items)
    if hasattr(like, "_metadata"):
        result._metadata = like._metadata  # type: ignore[attr-defined]
    return result


def map_tensors(
    value: object, change: Callable[[torch.Tensor], torch.Tensor], done: dict[int, object] | None = None
) -> Any:
    """Return a copy of a tree in which every tensor is changed; everything else is shared."""
    return map_leaves(value, lambda leaf: change(leaf) if isinstance(leaf, torch.Tensor) else leaf, done)


def tensors_of(value: object) -> list[torch.Tensor]:
    """Return all tensors of a tree in order, those in data samples too."""
    found: list[torch.Tensor] = []
    _gather(value, found)
    return found


def _gather(value: object, found: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, _CONTAINERS) and not isinstance(value, _LEAVES):
        inner = value.values() if isinstance(value, Mapping) else value
        if not _NUMBERS.issuperset(map(type, inner)):  # a history of numbers is not gone through one by one
            for each in inner:
                _gather(each, found)
    elif hasattr(value, "to_dict"):
        _gather(value.to_dict(), found)


def to_device(batch: object, device: torch.device) -> Any:
    """Return the batch with every tensor on the device; containers and samples are copied, everything else is shared.

    Example:
        >>> to_device({"image": torch.zeros(2), "name": "a"}, torch.device("meta"))["image"].device
        device(type='meta')
    """

    def move(leaf: object) -> object:
        if isinstance(leaf, torch.Tensor):
            return leaf if leaf.device == device else leaf.to(device, non_blocking=True)
        if hasattr(leaf, "to_dict") and hasattr(leaf, "to"):
            return leaf.to(device, non_blocking=True)
        return leaf

    return map_leaves(batch, move)
