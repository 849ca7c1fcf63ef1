"""The workers of torch's loaders: how they start, whose signals they obey, and how they end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from seg_runner.process.environment import OPENCV_THREADS

__all__ = ["WorkerInit", "quiet", "shield_workers", "shut_down", "shut_down_loader", "starting"]

PATIENCE = 2.0
"""Seconds that workers have to end, all together."""


def shut_down(iterator: object) -> None:
    """Stop the workers of a torch loader's iterator now, not when it is collected.

    One that does not end (it waits for a disk, was forked while a lock was held) is killed: torch waits five seconds
    for each of them, and python at exit for ever.
    """
    iterator = getattr(iterator, "batches", iterator)
    stop = getattr(iterator, "_shutdown_workers", None)
    if not callable(stop):
        return
    workers = list(getattr(iterator, "_workers", ()))
    killer = threading.Timer(PATIENCE, _kill, [workers])
    killer.daemon = True
    with suppress(RuntimeError):  # no thread can be had while the interpreter ends
        killer.start()
    stop()
    killer.cancel()
    _kill(workers)
    for worker in workers:
        worker.join()


def _kill(workers: Sequence[Any]) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def shut_down_loader(loader: object) -> None:
    """Stop the persistent workers of a torch loader; its next pass starts new ones."""
    iterator = getattr(loader, "_iterator", None)
    if isinstance(loader, DataLoader) and iterator is not None:
        shut_down(iterator)
        loader._iterator = None


@contextmanager
def starting() -> Iterator[None]:
    """Put this round the making of a torch loader's iterator.

    Where a worker dies, torch raises from a signal handler, and so wherever the main process is just then: in the
    middle of a save, say, or of forgetting an object, where python drops the error. Nothing is raised there any more:
    the next batch asked for tells of the death.
    """
    try:
        with quiet():
            yield
    finally:
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
            handler = signal.getsignal(signal.SIGCHLD)
            if callable(handler) and str(getattr(handler, "__module__", "")).startswith("torch."):
                signal.signal(signal.SIGCHLD, partial(_tell_later, handler))


def _tell_later(handler: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None) -> None:
    with suppress(RuntimeError):
        handler(number, frame)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what torch has to say about the number of workers: it said so to the user's loader."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


class WorkerInit:
    """What each worker does first: leave signals to the main process, compute with one thread, seed itself if asked.

    Then comes the user's function. SIGINT and SIGUSR1 are ignored, and so is a SIGTERM from anyone but the main
    process: schedulers send one to every process of a job, and the batch being read is still wanted.
    """

    def __init__(self, user: Callable[[int], Any] | None = None, seed: int | None = None, warns: bool = True) -> None:
        self.user, self.seed, self.warns = user, seed, warns

    def __call__(self, worker_id: int) -> None:
        """Prepare the worker process with this number."""
        for name in ("SIGINT", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        _end_with(os.getppid())
        _obey_only(os.getppid())
        _keep_to_one_thread()
        if self.seed is not None:
            seed = self.seed + worker_id
            random.seed(seed)
            np.random.seed(seed & 0xFFFFFFFF)
            torch.manual_seed(seed)
        if not self.warns and worker_id:
            warnings.simplefilter("ignore")
        if self.user is not None:
            self.user(worker_id)


def _keep_to_one_thread() -> None:
    """Keep OpenCV from starting a thread per core in each worker, as torch's loader does for torch.

    The user's number counts where there is one: in OpenCV's environment variable, which `env_cfg` sets too.
    """
    if OPENCV_THREADS in os.environ:
        return
    os.environ[OPENCV_THREADS] = "1"  # for OpenCV that is imported later
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(0)


def _end_with(parent: int) -> None:
    """Have Linux kill this worker once its parent is gone, however that ended: one that hangs would stay for ever."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(0)


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


@contextmanager
def shield_workers(loader: object) -> Iterator[None]:
    """Let workers that a torch loader starts meanwhile leave signals to the main process."""
    if not isinstance(loader, DataLoader) or isinstance(loader.worker_init_fn, WorkerInit):
        with starting():
            yield
        return
    user = loader.worker_init_fn
    loader.worker_init_fn = WorkerInit(user)
    try:
        with starting():
            yield
    finally:
        loader.worker_init_fn = user
