"""The processes of a run: the group that exists is taken, or one is made; and words between its ranks.

Words go over a group of their own, on the CPU: the group that trains may send between accelerators only.
"""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from seg_hooks.processes.launch import ALONE, find_launch
from seg_hooks.processes.objects import all_gather, broadcast, gather

__all__ = ["OtherRankError", "World", "adopt_world", "agreed", "current_world", "is_distributed", "rank", "size"]

LONGEST = datetime.timedelta(minutes=30)
"""How long one rank waits for another."""

Value = TypeVar("Value")


class OtherRankError(RuntimeError):
    """What failed on another rank; its own log has the traceback.

    Attributes:
        rank: The rank on which it failed.
    """

    def __init__(self, rank: int, text: str) -> None:
        super().__init__(f"rank {rank}: {text}")
        self.rank = rank


@dataclass(frozen=True)
class World:
    """The processes that train one model together. What it does with several ranks is called by all of them.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
        says: Who told this process that there are several, in words; empty with one.
        words: The group for what ranks tell each other, on the CPU; None with one process.

    >>> alone = World()
    >>> alone.size, alone.share("x"), alone.gather("x"), alone.largest(3, 0), alone.first(lambda: "done")
    (1, 'x', ['x'], (3, 0), 'done')
    """

    rank: int = 0
    size: int = 1
    says: str = ""
    words: Any = field(default=None, repr=False, compare=False)

    def share(self, value: Value) -> Value:
        """Return the value of rank 0, on all ranks."""
        if self.size == 1:
            return value
        shared: Value = broadcast(value, self.words)
        return shared

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks in their order, on all ranks."""
        if self.size == 1:
            return [value]
        return all_gather(value, self.words)

    def collect(self, value: Value) -> list[Value]:
        """Return the values of all ranks in their order on rank 0, and an empty list on the others."""
        if self.size == 1:
            return [value]
        return gather(value, self.words)

    def largest(self, *numbers: int) -> tuple[int, ...]:
        """Return the largest of all ranks' numbers, place by place, on all ranks: one small collective."""
        if self.size == 1:
            return numbers
        box = torch.tensor(numbers)
        distributed.all_reduce(box, op=distributed.ReduceOp.MAX, group=self.words)
        return tuple(box.tolist())

    def add(self, row: list[float]) -> list[float]:
        """Return the sums over all ranks, place by place, on all ranks: one collective."""
        box = torch.tensor(row, dtype=torch.float64)
        if self.size > 1:
            distributed.all_reduce(box, group=self.words)
        return box.tolist()

    def first(self, function: Callable[[], Value]) -> Value:
        """Do something on rank 0 only, and return on all ranks what it gave.

        Raises:
            BaseException: What it raised there, on all ranks.
        """
        if self.size == 1:
            return function()
        packed, error, value = b"", None, None
        if self.rank == 0:
            try:
                value = function()
                packed = pickle.dumps((None, value))
            except BaseException as raised:
                error, packed = raised, pickle.dumps((_portable(raised), None))
        packed = self.share(packed)
        if self.rank:
            error, value = pickle.loads(packed)
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # what the function gave

    def each(self, function: Callable[[], Value]) -> Value:
        """Do something on every rank, and return what it gave here.

        Raises:
            Exception: What it raised here; `OtherRankError` with its words where it failed on other ranks alone.
        """
        if self.size == 1:
            return function()
        value, error = None, None
        try:
            value = function()
        except Exception as raised:
            error = raised
        told = self.gather("" if error is None else _words(error))
        if error is not None:
            raise error
        bad = next((number for number, words in enumerate(told) if words), None)
        if bad is not None:
            raise OtherRankError(bad, told[bad])
        return value  # type: ignore[return-value]  # what the function gave


def _words(error: BaseException) -> str:
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


def _portable(error: BaseException) -> BaseException:
    """Return an error as it can be raised on other ranks: itself, where it can be packed."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # an error may hold anything
        again = None
    fits = type(again) is type(error) and str(again) == str(error)
    return again if fits else OtherRankError(0, _words(error))


def is_distributed() -> bool:
    """Tell whether a process group is there."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number; 0 without distributed training."""
    return distributed.get_rank() if is_distributed() else 0


def size() -> int:
    """Return how many processes there are; 1 without distributed training."""
    return distributed.get_world_size() if is_distributed() else 1


def agreed(flag: Tensor) -> Tensor:
    """Return a boolean, on its device, that is True where it is on all ranks; called by all of them alike."""
    if not is_distributed() or distributed.get_world_size() == 1:
        return flag
    box = flag.int()
    group = current_world().words if flag.device.type == "cpu" else None  # NCCL has no words for the CPU
    distributed.all_reduce(box, op=distributed.ReduceOp.MIN, group=group)
    return box.bool()


def adopt_world() -> World:
    """Return the processes that this one belongs to: the group that exists, or one made as the environment says.

    Raises:
        RuntimeError: The ranks do not find one another; the message says where they were to meet.
    """
    if distributed.is_available() and not distributed.is_initialized() and (launch := find_launch()).size > 1:
        from seg_hooks.processes.meet import make_group  # not every torch has its stores

        make_group(launch, LONGEST)
    return current_world()


def current_world() -> World:
    """Return the processes of the group that exists; one process where there is none."""
    global _adopted
    if not is_distributed() or distributed.get_world_size() == 1:
        return World()
    group = distributed.group.WORLD
    if _adopted is None or _adopted[0] is not group:
        on_cpu = distributed.new_group(backend="gloo", timeout=LONGEST)
        place = distributed.get_rank(), distributed.get_world_size()
        _adopted = group, World(*place, _says(place), on_cpu)
    return _adopted[1]


def _says(place: tuple[int, int]) -> str:
    """Return who told this process its place, where it is that of the group: the environment may say nothing of it."""
    try:
        launch = find_launch()
    except RuntimeError:
        launch = ALONE
    return launch.says if (launch.rank, launch.size) == place else "an initialised process group"


_adopted: tuple[object, World] | None = None
"""The group that was adopted last, and the world of it: a group for words is made once for each."""
