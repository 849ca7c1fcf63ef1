"""Sums over ranks whose every bit is the same on any number of processes: added in one fixed binary tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import distributed

from seg_runner.distributed.norms import gather_single

__all__ = ["Carry", "added", "over_processes"]

SMALL = 1 << 14
"""Up to so many numbers are sent whole to all: one round of messages in place of two."""


def added(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of tensors, neighbours first, then neighbouring pairs, and so on; they are a power of two.

    So the sums of equal parts, added, are the sum of all to the last bit, however many parts there are.

    >>> ones = [torch.tensor(1e8), torch.tensor(1.0), torch.tensor(-1e8), torch.tensor(1.0)]
    >>> added(ones) == added([added(ones[:2]), added(ones[2:])])
    tensor(True)
    """
    values = list(values)
    while len(values) > 1:
        values = [left + right for left, right in zip(values[::2], values[1::2], strict=True)]
    return values[0]


Tensors = TypeVar("Tensors", bound="list[torch.Tensor]")


class Carry(Generic[Tensors]):
    """Adds lists of tensors as `added` does while they come one by one, and keeps as few as it can.

    Example:
        >>> carry = Carry()
        >>> for number in (1.0, 2.0, 3.0, 4.0):
        ...     carry.push([torch.tensor(number)], [])
        >>> carry.total()
        [tensor(10.)]
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Tensors]] = []

    def push(self, leaf: Tensors, spare: list[Tensors]) -> None:
        """Add the next one, which belongs to the carry from here on; `spare` gets those that are done with."""
        level = 0
        while self._waiting and self._waiting[-1][0] == level:
            left = self._waiting.pop()[1]
            for one, other in zip(left, leaf, strict=True):
                one.add_(other)
            spare.append(leaf)
            leaf, level = left, level + 1
        self._waiting.append((level, leaf))

    def total(self) -> Tensors:
        """Return the sum, and begin anew."""
        ((_, total),) = self._waiting
        self._waiting.clear()
        return total


def over_processes(flat: torch.Tensor, size: int, scratch: torch.Tensor | None = None) -> None:
    """Put the sum over the processes into a tensor, in the tree that goes on from each one's own; called by all.

    Every process adds one part of what all have, and then all get the parts: as many bytes as a ring sends.

    Args:
        flat: One dimension, a multiple of `size` long.
        size: How many processes there are, a power of two.
        scratch: Another one of this kind, which is written over; to make one at each step takes its time.
    """
    if size == 1:
        return
    if flat.numel() <= SMALL:
        every = flat.new_empty(size * flat.numel())
        gather_single(every, flat.contiguous())
        flat.copy_(added(every.view(size, -1).unbind()))
        return
    if size == 2:
        distributed.all_reduce(flat)  # of two there is one order only: a + b is b + a
        return
    parts = torch.empty_like(flat) if scratch is None else scratch
    distributed.all_to_all_single(parts, flat)
    rows, step = parts.view(size, -1), 1
    while step < size:  # as `added` does, with no new tensors
        for place in range(0, size, 2 * step):
            rows[place] += rows[place + step]
        step *= 2
    gather_single(flat, rows[0])
