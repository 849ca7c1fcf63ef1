"""The processes of a run: the group that exists is taken, else one is made; and words between its ranks.

Words go over a group of their own, on the CPU: the group that trains may send between accelerators only, and may be in
the middle of gradients when a thread has something to say.
"""

from __future__ import annotations

import atexit
import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import distributed

from seg_runner.distributed.launch import Launch, find_launch
from seg_runner.errors import did_you_mean
from seg_runner.process.device import accelerator, device_count

__all__ = ["ALONE", "LONGEST", "OtherRankError", "World", "adopt_world", "read_dist_cfg"]

PORT = 29500
"""Where ranks meet when neither the launcher nor the config says it: torch's and MMEngine's number."""
LONGEST = datetime.timedelta(minutes=30)
"""How long one rank waits for another, where `env_cfg.dist_cfg.timeout` (seconds) does not say."""

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
    """The processes that train one model together.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine.
        says: Who told this process that there are several, in words; empty with one.
        words: The group for what ranks tell each other, on the CPU; None with one process.

    >>> alone = World()
    >>> alone.size, alone.share("x"), alone.gather("x"), alone.agree(3), alone.first(lambda: "done")
    (1, 'x', ['x'], 3, 'done')
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    says: str = ""
    words: Any = field(default=None, repr=False, compare=False)

    def share(self, value: Value, source: int = 0) -> Value:
        """Return the value of one rank, on all of them; called by all."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.rank == source else None]
        distributed.broadcast_object_list(box, src=source, group=self.words)
        shared: Value = box[0]
        return shared

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks in their order, on all of them; called by all."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value, group=self.words)
        return found

    def agree(self, number: int) -> int:
        """Return the largest of all ranks' numbers, on all of them; called by all."""
        return self.largest([number])[0]

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Return the largest of all ranks' numbers at each place of a list, on all of them; called by all."""
        if self.size == 1:
            return list(numbers)
        box = torch.tensor(numbers)
        distributed.all_reduce(box, op=distributed.ReduceOp.MAX, group=self.words)
        found: list[int] = box.tolist()
        return found

    def first(self, function: Callable[[], Value]) -> Value:
        """Do something on rank 0 only, and return on all ranks what it gave; called by all.

        Raises:
            Exception: What it raised there; on the other ranks `OtherRankError` with the same words.
        """
        if self.size == 1:
            return function()
        value, words, error = None, "", None
        if self.rank == 0:
            try:
                value = function()
            except BaseException as raised:
                error, words = raised, _words_of(raised)
        words, value = self.share((words, value))
        if error is not None:
            raise error
        if words:
            raise OtherRankError(0, words)
        return value  # type: ignore[return-value]  # what the function gave

    def each(self, function: Callable[[], Value]) -> Value:
        """Do something on every rank, and return what it gave here; called by all.

        Raises:
            Exception: What it raised here; where it went well here and failed elsewhere, `OtherRankError` with the
                words of the first rank that it failed on.
        """
        if self.size == 1:
            return function()
        value, words, error = None, "", None
        try:
            value = function()
        except Exception as raised:
            error, words = raised, _words_of(raised)
        told = self.gather(words)
        if error is not None:
            raise error
        for rank, failed in enumerate(told):
            if failed:
                raise OtherRankError(rank, failed)
        return value  # type: ignore[return-value]  # what the function gave


def _words_of(error: BaseException) -> str:
    """Return what an error says, with its notes."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


ALONE = World()


def adopt_world(dist_cfg: Mapping[str, Any] | None = None, device: str | None = None) -> World:
    """Return the processes that this one belongs to: the group that exists, or one made as the environment says.

    Args:
        dist_cfg: `env_cfg.dist_cfg` of a config: `backend`, `timeout` (seconds), `init_method`.
        device: The kind of device that trains, as the config names it; None: the accelerator, where there is one.

    Raises:
        RuntimeError: The ranks do not find one another; the message says where they were to meet.
        ValueError: A key, or a backend, that there is none of.
    """
    global _adopted
    options = read_dist_cfg(dist_cfg)
    if not distributed.is_available():
        return World()
    launch = find_launch()
    if not distributed.is_initialized():
        if launch.size == 1:
            return World()
        _make_group(launch, options, device)
    rank, size = distributed.get_rank(), distributed.get_world_size()
    if size == 1:
        return World()
    group = distributed.group.WORLD
    if _adopted is None or _adopted[0] is not group:
        on_cpu = distributed.new_group(backend="gloo", timeout=options["timeout"])
        ours = launch if launch.size == size else Launch(rank, size, rank, size, "an initialised process group")
        local_size = ours.local_size or min(size, device_count() or size)
        _adopted = group, World(rank, size, ours.local_rank, local_size, ours.says, on_cpu)
    return _adopted[1]


_adopted: tuple[object, World] | None = None
"""The group that was adopted last, and the world of it: a group for words is made once for each."""


def read_dist_cfg(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `env_cfg.dist_cfg` with every gap filled.

    Raises:
        ValueError: A key that there is none of.

    >>> read_dist_cfg({"backend": "gloo", "timeout": 60})["timeout"]
    datetime.timedelta(seconds=60)
    """
    known = ("backend", "timeout", "init_method", "port", "init_backend")
    for key in given or ():
        if key not in known:
            near = did_you_mean(str(key), known)
            raise ValueError(f"env_cfg.dist_cfg has no key {key!r}.{near} Known: {', '.join(known)}")
    options: dict[str, Any] = {"backend": None, "init_method": None, "port": None, **(given or {})}
    seconds = options.get("timeout")
    options["timeout"] = LONGEST if seconds is None else datetime.timedelta(seconds=float(seconds))
    return options


def _make_group(launch: Launch, options: Mapping[str, Any], device: str | None) -> None:
    """Make the process group, and have it taken down when the process ends."""
    os.environ.setdefault("MASTER_ADDR", launch.address or "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(options["port"] or PORT))
    backend = _backend(options["backend"], device)
    told: dict[str, Any] = {"rank": launch.rank, "world_size": launch.size, "timeout": options["timeout"]}
    if options["init_method"] is not None:
        told["init_method"] = options["init_method"]
    try:
        distributed.init_process_group(backend, **told)
    except Exception as error:
        place = options["init_method"] or f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RuntimeError(
            f"process {launch.rank + 1} of {launch.size} ({launch.says}) did not find the others at {place}: {error}. "
            "Are all started, and is MASTER_ADDR the machine of rank 0? MASTER_PORT chooses another port; "
            "for one process, unset these variables"
        ) from error
    atexit.register(_take_down)


def _take_down() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _backend(named: str | None, device: str | None) -> str:
    """Return the backend: NCCL on CUDA, gloo on the CPU, an accelerator's own elsewhere.

    `nccl` is what every config of MMSegmentation names; where nothing is trained on CUDA, gloo does the same.
    """
    kind = torch.device(device).type if device is not None else accelerator() or "cpu"
    by_kind = getattr(distributed.Backend, "default_device_backend_map", {"cuda": "nccl"})  # not before torch 2.5
    own = str(by_kind.get(kind, "gloo"))
    if named is None or (named == "nccl" and kind != "cuda"):
        return own
    if named not in distributed.Backend.backend_list:
        near = did_you_mean(named, distributed.Backend.backend_list)
        raise ValueError(f"env_cfg.dist_cfg.backend={named!r} is no backend of torch's.{near}")
    return named
