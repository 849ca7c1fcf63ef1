"""Workers that outlive a pass over the data: each pass seeds them, so that a resumed run can begin one again."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.sharedctypes import RawValue
from typing import Any, TypeGuard

import torch
from torch.utils.data import DataLoader, get_worker_info

from seg_hooks.own_loop.generators import reseed, seed_opencv

__all__ = ["PassSeeds", "can_seed_reading", "keeps_workers", "pass_seed", "shielded", "starts_workers"]


@contextlib.contextmanager
def shielded(loader: object, several: bool) -> Iterator[None]:
    """Have workers that a torch loader starts meanwhile leave signals to this process, which finishes its step.

    Args:
        loader: The loader.
        several: Whether this is one of several processes; one alone does not handle signals.
    """
    if not several or not isinstance(loader, DataLoader):
        yield
        return
    own = loader.worker_init_fn
    loader.worker_init_fn = _Shield(own)
    try:
        yield
    finally:
        loader.worker_init_fn = own


class _Shield:
    """What a worker does first: ignore signals, but for a SIGTERM of its parent, and then the user's own function.

    Launchers and schedulers send a signal to every process of a job, and the batch that is being read is still wanted.
    """

    def __init__(self, own: Callable[[int], None] | None) -> None:
        self.own = own

    def __call__(self, worker: int) -> None:
        for name in ("SIGINT", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        _obey_only(os.getppid())
        if self.own is not None:
            self.own(worker)


def _obey_only(parent: int) -> None:
    """End on a SIGTERM that the parent sent, ignore one from anybody else (where the system tells who sent it)."""
    if not hasattr(signal, "sigwaitinfo"):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def listen() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=listen, name="sigterm", daemon=True).start()


def keeps_workers(loader: object) -> TypeGuard[DataLoader[Any]]:
    """Tell whether the workers of a loader go on from pass to pass, and their random numbers with them."""
    return isinstance(loader, DataLoader) and loader.persistent_workers and loader.num_workers > 0


def starts_workers(loader: object) -> bool:
    """Tell whether the loader begins its next pass with new workers, for whose seed torch draws one number."""
    return not keeps_workers(loader) or getattr(loader, "_iterator", None) is None


def can_seed_reading(dataset: object) -> bool:
    """Tell whether the reading of a data set can be made to seed first; that of a plain list or tuple cannot."""
    return type(dataset).__module__ != "builtins"


def pass_seed(number: int) -> int:
    """Return a seed for a pass, from its number and torch's random numbers at its start; never 0."""
    state = bytes(torch.get_rng_state().tolist())
    return int.from_bytes(hashlib.blake2b(state, digest_size=7, person=b"%d" % number).digest(), "big") + 1


class PassSeeds:
    """Begins passes of a loader that keeps its workers.

    The workers learn the seed of a pass through shared memory: at its first sample each of them seeds python, numpy,
    torch, and the generators that its copy of the data set keeps.
    """

    def __init__(self) -> None:
        # workers live on from pass to pass: only memory that they share with us tells them of the next one
        self._shared: ctypes.c_longlong = RawValue(ctypes.c_longlong, 0)

    def begin(self, loader: DataLoader[Any], seed: int) -> Iterator[Any]:
        """Return the iterator of a pass with this seed."""
        self._shared.value = seed
        if not starts_workers(loader):
            return iter(loader)
        own = loader.worker_init_fn
        loader.worker_init_fn = _WorkerInit(self._shared, own)
        try:
            return iter(loader)
        finally:
            loader.worker_init_fn = own


class _WorkerInit:
    """What a worker does first: the user's own function, then its data set is made to seed in each pass."""

    def __init__(self, shared: ctypes.c_longlong, own: Callable[[int], None] | None) -> None:
        self.shared, self.own = shared, own

    def __call__(self, worker: int) -> None:
        if self.own is not None:
            self.own(worker)
        info = get_worker_info()
        if info is not None:
            _seed_while_reading(info.dataset, self.shared, worker)


def _seed_while_reading(dataset: object, shared: ctypes.c_longlong, worker: int) -> None:
    """Have this process's copy of a data set seed everything at the first sample of each pass."""
    seen = 0

    def seed() -> None:
        nonlocal seen
        if shared.value != seen:
            seen = shared.value
            own = (seen + 0x9E3779B97F4A7C15 * (worker + 1)) % 2**63
            random.seed(own)
            torch.manual_seed(own)
            if "numpy.random" in sys.modules:
                sys.modules["numpy.random"].seed(own % 2**32)
            seed_opencv(own)
            reseed(dataset, own)

    kind = type(dataset)
    methods: dict[str, Any] = {name: _seeding(getattr(kind, name), seed) for name in _reading(kind)}
    with contextlib.suppress(TypeError):  # see `can_seed_reading`
        dataset.__class__ = type(kind.__name__, (kind,), {**methods, "__module__": kind.__module__, "__slots__": ()})


def _reading(kind: type) -> list[str]:
    return [name for name in ("__getitem__", "__getitems__", "__iter__") if callable(getattr(kind, name, None))]


def _seeding(method: Callable[..., object], seed: Callable[[], None]) -> Callable[..., object]:
    def read(self: object, *args: object) -> object:
        seed()
        return method(self, *args)

    return read
