"""The batch that a graph reads: always the same tensors, into which each batch is copied."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any

import torch

from seg_runner.trees import map_leaves, tensors_of, to_device

__all__ = ["StaticBatch", "kind_of_batch"]

CONSTANT = (str, bytes, type(None))
"""Leaves of a batch that say where it comes from, and not what is computed."""


def kind_of_batch(batch: object) -> tuple[Hashable, ...] | str:
    """Return what two batches have in common that one graph can serve; or, as a text, why none can.

    That are shapes, strides and types of tensors, and the numbers among them. Texts, and facts about images (the
    metainfo of data samples), are not looked at.

    >>> kind_of_batch((torch.zeros(2, 3), 0.5, "a.png"))
    ((torch.Size([2, 3]), (3, 1), torch.float32), 0.5)
    >>> kind_of_batch({"image": object()})
    'the batch holds a value of type object: only tensors and numbers can be captured'
    """
    found: list[Hashable] = []
    odd: list[str] = []

    def look(leaf: Any) -> None:
        if isinstance(leaf, torch.Tensor):
            found.append((leaf.shape, leaf.stride(), leaf.dtype))
        elif hasattr(leaf, "to_dict"):
            found.extend((tensor.shape, tensor.stride(), tensor.dtype) for tensor in tensors_of(leaf))
        elif isinstance(leaf, bool | int | float):
            found.append(leaf)
        elif not isinstance(leaf, CONSTANT):
            odd.append(type(leaf).__name__)

    map_leaves(batch, look)
    if odd:
        return f"the batch holds a value of type {odd[0]}: only tensors and numbers can be captured"
    return tuple(found)


class StaticBatch:
    """A batch of its own on the device, as large as the given one.

    Args:
        batch: A batch; its values are taken over.
        device: Where the graph runs.

    Attributes:
        batch: What the captured step is given.
    """

    def __init__(self, batch: object, device: torch.device) -> None:
        def copied(leaf: Any) -> Any:  # a tensor that is there twice gets two: in the next batch they may differ
            if isinstance(leaf, torch.Tensor):
                return leaf.clone()
            return copy.deepcopy(leaf) if hasattr(leaf, "to_dict") else leaf

        self.batch: Any = to_device(map_leaves(batch, copied), device)
        self._tensors = tensors_of(self.batch)  # now: a step may put others into its batch

    def fill(self, batch: object) -> None:
        """Copy the values of a batch of the same kind."""
        for mine, given in zip(self._tensors, tensors_of(batch), strict=True):
            mine.copy_(given, non_blocking=True)
