"""How the ranks of a run find one another: a store that all reach, a key of this start, the process group.

A launcher that starts workers again keeps its store, with what the workers before have left there: gloo would read the
address of a process that is dead. The number of the start is no key either, since each machine counts its own. So rank
0 makes up a key, and offers it to exactly those that have come to meet it now.
"""

from __future__ import annotations

import atexit
import datetime
import os
import secrets
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # torch lists them nowhere

from seg_runner.distributed.launch import Launch, refuse_alone
from seg_runner.errors import did_you_mean
from seg_runner.process.device import accelerator

__all__ = ["agree_on_key", "backend_for", "leave_group_standing", "make_group"]

QUIET = 60.0
"""Seconds of waiting for other ranks after which a line says for which."""

_stores: dict[tuple[str, int], Any] = {}
"""Stores stay for the life of the process: the next group of other ranks may come before this one's is made."""


def make_group(launch: Launch, options: Mapping[str, Any], device: str | None) -> None:
    """Make the process group, and have it taken down when the process ends.

    Args:
        launch: How this process was started.
        options: `env_cfg.dist_cfg`, every gap filled.
        device: The kind of device that trains, as the config names it.

    Raises:
        RuntimeError: The ranks do not find one another; the message says where they were to meet.
    """
    backend = backend_for(options["backend"], device)
    told: dict[str, Any] = {"rank": launch.rank, "world_size": launch.size, "timeout": options["timeout"]}
    own_way = options["init_method"] not in (None, "env://")
    if not own_way:
        refuse_alone(launch)
    address = launch.address or "127.0.0.1"
    port = launch.port if "MASTER_PORT" in os.environ else int(options["port"] or launch.port)
    try:
        if own_way:
            told["init_method"] = options["init_method"]
        else:
            store = _store(address, port, launch, options["timeout"])
            key = agree_on_key(store, launch.rank, launch.size, options["timeout"])
            told["store"] = PrefixStore(key, store)
        distributed.init_process_group(backend, **told)
    except Exception as error:
        place = options["init_method"] if own_way else f"{address}:{port}"
        raise RuntimeError(
            f"process {launch.rank + 1} of {launch.size} ({launch.says}) did not find the others at {place}: {error}. "
            "Are all started, and is MASTER_ADDR the machine of rank 0? MASTER_PORT chooses another port; "
            "for one process, unset these variables"
        ) from error
    _take_down_at_exit()


def agree_on_key(store: Any, rank: int, size: int, timeout: datetime.timedelta) -> str:
    """Return a key that all ranks of this start share, and no earlier start has used; called by all.

    Each rank leaves a word of its own, and rank 0 answers each word with the key, until every rank has confirmed the
    answer to its own word: the word of a rank that is dead is answered, but by nobody confirmed.

    Raises:
        TimeoutError: some have not come; the message says which.
    """
    own, until, quiet = secrets.token_hex(8), time.monotonic() + timeout.total_seconds(), time.monotonic() + QUIET
    offered: dict[int, str] = {}
    key, waits_for = own, [0] if rank else list(range(1, size))
    if rank:
        store.set(f"seg/word/{rank}", own)
    pause = 0.002
    while waits_for:
        if rank:
            answer = _read(store, f"seg/answer/{rank}").split()
            if answer[:1] == [own]:
                store.set(f"seg/confirmed/{answer[1]}/{rank}", "")
                return answer[1]
        else:
            for other in waits_for:
                word = _read(store, f"seg/word/{other}")
                if word and offered.get(other) != word:
                    store.set(f"seg/answer/{other}", f"{word} {key}")
                    offered[other] = word
            waits_for = [one for one in waits_for if not _is_there(store, f"seg/confirmed/{key}/{one}")]
        if time.monotonic() > until:
            raise TimeoutError(f"after {timeout} {_numbers(waits_for)} not come")
        if time.monotonic() > quiet:
            print(f"rank {rank} waits: {_numbers(waits_for)} not come yet", file=sys.stderr, flush=True)
            quiet += 10 * QUIET
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    return key


def _launcher_keeps_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _store(address: str, port: int, launch: Launch, timeout: datetime.timedelta) -> Any:
    """Return the store at an address: the launcher's, else one that rank 0 holds."""
    place = address, port
    if place not in _stores:
        holds = launch.rank == 0 and not _launcher_keeps_store()
        _stores[place] = TCPStore(address, port, None, holds, timeout, wait_for_workers=False)
    return _stores[place]


def _read(store: Any, key: str) -> str:
    """Return what a key holds; empty where it is not there."""
    return str(store.get(key).decode()) if _is_there(store, key) else ""


def _is_there(store: Any, key: str) -> bool:
    return bool(store.check([key]))


def _numbers(ranks: list[int]) -> str:
    """Write some ranks, as the begin of `... not come`.

    >>> _numbers([1]), _numbers([1, 2])
    ('rank 1 has', 'ranks 1, 2 have')
    """
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank {shown} has" if len(ranks) == 1 else f"ranks {shown} have"


_made_by: list[int] = []
"""The process that takes its group down at its end: a child that it forks inherits the list, but is another one."""


def _take_down_at_exit() -> None:
    if os.getpid() not in _made_by:
        _made_by.append(os.getpid())
        atexit.register(_take_down, os.getpid())


def _take_down(process: int) -> None:
    if os.getpid() == process and process in _made_by and distributed.is_initialized():
        distributed.destroy_process_group()


def leave_group_standing() -> None:
    """Do not take the group down at the end: a rank has failed, and would be waited for."""
    _made_by.clear()


def backend_for(named: str | None, device: str | None) -> str:
    """Return the backend: NCCL on CUDA, gloo on the CPU, an accelerator's own elsewhere.

    `nccl` is what every config of MMSegmentation names; where nothing is trained on CUDA, gloo does the same.

    Args:
        named: `env_cfg.dist_cfg.backend`: a name, or several as torch takes them (`'cpu:gloo,cuda:nccl'`).
        device: The kind of device that trains; None: the accelerator, where there is one.

    Raises:
        ValueError: torch knows no such backend.

    >>> backend_for(None, "cpu"), backend_for("nccl", "cpu"), backend_for("cpu:gloo", "cpu")
    ('gloo', 'gloo', 'cpu:gloo')
    """
    kind = torch.device(device).type if device is not None else accelerator() or "cpu"
    by_kind = getattr(distributed.Backend, "default_device_backend_map", {"cuda": "nccl"})  # not before torch 2.5
    own = str(by_kind.get(kind, "gloo"))
    if named is None or (named == "nccl" and kind != "cuda"):
        return own
    for part in named.split(","):
        if (name := part.rpartition(":")[2].strip().lower()) not in distributed.Backend.backend_list:
            near = did_you_mean(name, distributed.Backend.backend_list)
            raise ValueError(f"env_cfg.dist_cfg.backend={named!r} is no backend of torch's.{near}")
    return named
