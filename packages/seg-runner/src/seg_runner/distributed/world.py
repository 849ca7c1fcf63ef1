"""The processes of a run: the group that exists is taken, else one is made; and words between its ranks.

Words go over a group of their own, on the CPU: the group that trains may send between accelerators only, and may be in
the middle of gradients when a thread has something to say.
"""

from __future__ import annotations

import datetime
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import distributed

from seg_runner.distributed import launch as launches
from seg_runner.distributed.endings import OtherRankError, show_once
from seg_runner.distributed.jobs import Tries, tries_of
from seg_runner.distributed.launch import Launch, check_started, find_launch
from seg_runner.distributed.meet import make_group
from seg_runner.distributed.watch import Watch, identify, own_store
from seg_runner.errors import did_you_mean
from seg_runner.process.device import first_device

__all__ = ["ALONE", "LONGEST", "OtherRankError", "World", "adopt_world", "read_dist_cfg"]

LONGEST = datetime.timedelta(minutes=30)
"""How long one rank waits for another, where `env_cfg.dist_cfg.timeout` (seconds) does not say."""

Value = TypeVar("Value")


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
        device_index: Which of the devices that this process sees is its own, where each takes one.
        tries: The jobs that may start these processes again, each with the name of this try.
        watch: Hears how other ranks end; None with one process, and where the ranks have met without a store.

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
    device_index: int = 0
    tries: Tries = field(default_factory=dict, repr=False, compare=False)
    watch: Watch | None = field(default=None, repr=False, compare=False)

    def share(self, value: Value, source: int = 0) -> Value:
        """Return the value of one rank, on all of them; called by all."""
        if self.size == 1:
            return value
        self._check()
        box: list[Any] = [value if self.rank == source else None]
        distributed.broadcast_object_list(box, src=source, group=self.words)
        shared: Value = box[0]
        return shared

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks in their order, on all of them; called by all."""
        if self.size == 1:
            return [value]
        self._check()
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
        self._check()
        box = torch.tensor(numbers)
        distributed.all_reduce(box, op=distributed.ReduceOp.MAX, group=self.words)
        found: list[int] = box.tolist()
        return found

    def session(self, run: object = None, logger: logging.Logger | None = None) -> AbstractContextManager[None]:
        """Listen to the other ranks while this lasts; entered by all. Arguments as of `together`."""
        return nullcontext() if self.watch is None else self.watch.session(run, logger)

    def rows(self, row: Sequence[float]) -> list[list[float]]:
        """Return the numbers of all ranks, as many on each, in the order of the ranks; called by all."""
        if self.size == 1:
            return [list(row)]
        self._check()
        own = torch.tensor(row, dtype=torch.float64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(found, own, group=self.words)
        return [each.tolist() for each in found]

    @contextmanager
    def together(
        self,
        run: object = None,
        logger: logging.Logger | None = None,
        log: Callable[[], str] = lambda: "",
        agreed: Callable[[], bool] = lambda: False,
    ) -> Iterator[None]:
        """Do what all ranks do: where one leaves by an error, so do the others, with its words; all leave together.

        Args:
            run: Whatever has `iter`, the finished iterations.
            logger: The log of the run, for what is said of another rank.
            log: Gives the log file of this rank, for the other ranks to name.
            agreed: Tells whether all ranks leave by an exception, as they have agreed.

        Raises:
            OtherRankError: where another rank has left by an error.
        """
        if self.watch is None:
            yield
            return
        with self.session(run, logger), self.watch.listening(log, agreed):
            yield
            self.agree(0)

    def _check(self) -> None:
        """Refuse to wait for a rank that has left."""
        if self.watch is not None:
            self.watch.check()

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


def adopt_world(dist_cfg: Mapping[str, Any] | None = None, device: str | None = None, launcher: str = "none") -> World:
    """Return the processes that this one belongs to: the group that exists, or one made as the environment says.

    Args:
        dist_cfg: `env_cfg.dist_cfg` of a config: `backend`, `timeout` (seconds), `init_method`, `port`.
        device: The kind of device that trains, as the config names it; None: the accelerator, where there is one.
        launcher: Who started the processes, as the config names it; with `'none'` whoever set variables is believed.

    Raises:
        RuntimeError: The ranks do not find one another; the message says where they were to meet.
        ValueError: A key, or a backend, that there is none of; a launcher that did not start this process.
    """
    global _adopted
    options = read_dist_cfg(dist_cfg)
    if not distributed.is_available():
        return World(tries=tries_of())
    if distributed.is_initialized():
        launch = _told(launcher)
    else:
        check_started(launcher)
        launch = find_launch(launcher=launcher)
        if launch.size == 1:
            return World(tries=tries_of())
        make_group(launch, options, device)
    if distributed.get_world_size() == 1:
        return World(tries=tries_of())
    group = distributed.group.WORLD
    if _adopted is None or _adopted[0] is not group:
        words = distributed.new_group(backend="gloo", timeout=options["timeout"])
        seen = "" if device is not None and torch.device(device).type == "cpu" else first_device()
        world = _placed(launch, words, seen)
        _adopted = group, replace(world, watch=_watch(world, options["timeout"]))
        show_once(world.rank)
    return _adopted[1]


_adopted: tuple[object, World] | None = None
"""The group that was adopted last, and the world of it: a group for words is made once for each."""


def _told(launcher: str) -> Launch:
    """Return what the environment says beside a group that exists already, which may be nothing, or wrong."""
    try:
        return find_launch(launcher=launcher)
    except RuntimeError:
        return launches.ALONE


def _number_here() -> int:
    """Return the number of this process on its machine, as the environment tells it; -1 where it does not."""
    text = os.environ.get("LOCAL_RANK", "").strip()
    return int(text) if text.isdecimal() else -1


def _placed(launch: Launch, words: Any, seen: str) -> World:
    """Return the world, each rank having told the others its machine, the first device that it sees, and its jobs.

    Where each process is shown a device of its own, all of them see one, and it is the first; where all are shown the
    same ones, each takes the one of its number.
    """
    rank, size = distributed.get_rank(), distributed.get_world_size()
    told = launch if (launch.rank, launch.size) == (rank, size) else None
    local = told.local_rank if told is not None else _number_here()
    found: list[Any] = [None] * size
    distributed.all_gather_object(found, ((socket.gethostname(), seen), tries_of()), group=words)
    places = [place for place, _ in found]
    here = [other for other, (host, _) in enumerate(places) if host == places[rank][0]]
    counted = here.index(rank)
    same = [other for other in here if places[other] == places[rank]]
    own = local if len(same) == len(here) and local >= 0 else same.index(rank)
    return World(
        rank,
        size,
        local if local >= 0 else counted,
        (told.local_size if told is not None else 0) or len(here),
        "an initialised process group" if told is None else told.says,
        words,
        own,
        {job: this for _, tries in found for job, this in tries.items()},
    )


def _watch(world: World, timeout: datetime.timedelta) -> Watch | None:
    """Return what hears of the other ranks; under a name that no other try of the same job has used."""
    store = own_store()
    told = world.gather((identify(), secrets.token_hex(8), store is not None))
    if not all(has_store for _, _, has_store in told):
        return None
    own = distributed.distributed_c10d.PrefixStore(f"seg_runner/{told[0][1]}", store)
    return Watch(world.rank, own, [it for it, _, _ in told], timeout.total_seconds())


DIST_KEYS = ("backend", "timeout", "init_method", "port", "init_backend")


def read_dist_cfg(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `env_cfg.dist_cfg` with every gap filled.

    Raises:
        TypeError: A value of another kind.
        ValueError: A key that there is none of, or a value that means nothing.

    >>> read_dist_cfg({"backend": "gloo", "timeout": 60})["timeout"]
    datetime.timedelta(seconds=60)
    """
    for key in given or ():
        if key not in DIST_KEYS:
            near = did_you_mean(str(key), DIST_KEYS)
            raise ValueError(f"env_cfg.dist_cfg has no key {key!r}.{near} Known: {', '.join(DIST_KEYS)}")
    options: dict[str, Any] = {**dict.fromkeys(DIST_KEYS), **(given or {})}
    for key in ("backend", "init_method", "init_backend"):
        if not isinstance(options[key], str | None):
            raise TypeError(f"env_cfg.dist_cfg.{key} must be a text, not {options[key]!r}")
    if options["init_backend"] not in (None, "torch"):
        raise ValueError(
            f"env_cfg.dist_cfg.init_backend={options['init_backend']!r}: here torch makes the process group; leave it "
            "out (strategy='fsdp' splits a model that is too large for one device)"
        )
    port = options["port"]
    if port is not None and not (str(port).isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"env_cfg.dist_cfg.port must be a whole number from 1 to 65535, not {port!r}")
    options["timeout"] = _time(options["timeout"])
    return options


def _time(given: object) -> datetime.timedelta:
    """Return a time in seconds as torch takes it."""
    if given is None:
        return LONGEST
    if isinstance(given, datetime.timedelta):
        return given
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 1e9:
        raise ValueError(f"env_cfg.dist_cfg.timeout must be a number of seconds above 0, not {given!r}")
    return datetime.timedelta(seconds=given)
