"""Collate functions: a list of samples -> a batch. The reference's two, which know data elements by their shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import default_collate as torch_collate

__all__ = ["default_collate", "pseudo_collate"]


def pseudo_collate(data_batch: Sequence[Any]) -> Any:
    """Put samples side by side without stacking their tensors, so images may differ in size.

    Raises:
        RuntimeError: Sequences inside the samples have different lengths.

    >>> pseudo_collate([dict(inputs=1, tag="a"), dict(inputs=2, tag="b")])
    {'inputs': [1, 2], 'tag': ['a', 'b']}
    """
    return _collate(data_batch, list)


def default_collate(data_batch: Sequence[Any]) -> Any:
    """Put samples side by side and stack their tensors and numbers; data elements stay a list.

    Raises:
        RuntimeError: Sequences inside the samples have different lengths, or tensors different shapes.

    >>> default_collate([dict(x=1, name="a"), dict(x=2, name="b")])
    {'x': tensor([1, 2]), 'name': ['a', 'b']}
    """
    return _collate(data_batch, torch_collate)


def _collate(batch: Sequence[Any], leaf: Callable[[list[Any]], Any]) -> Any:
    first = batch[0]
    if is_data_element(first) or isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(_collate(items, leaf) for items in zip(*batch, strict=True)))
    if isinstance(first, Mapping):
        return _like(first, {key: _collate([sample[key] for sample in batch], leaf) for key in first})
    if isinstance(first, Sequence):
        _check_lengths(batch)
        columns = [_collate(items, leaf) for items in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _like(first, columns)
    return leaf(list(batch))


def _check_lengths(batch: Sequence[Any]) -> None:
    lengths = [len(sample) for sample in batch]
    if len(set(lengths)) > 1:
        raise RuntimeError(
            f"the samples of this batch cannot be put together: they are sequences of lengths {lengths}. "
            f"Let every sample have equally many parts, or give the loader a collate_fn of your own."
        )


def _like(model: Any, value: Any) -> Any:
    try:
        return type(model)(value)
    except TypeError:
        return value


def is_data_element(value: Any) -> bool:
    """Whether this is a SegDataSample, MMEngine's BaseDataElement, or anything of that shape."""
    return hasattr(type(value), "set_metainfo") and hasattr(type(value), "metainfo_keys")
