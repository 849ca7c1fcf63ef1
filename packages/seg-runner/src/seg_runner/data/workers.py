"""Which sample is being read: data sets whose errors name it, and what a worker was at when it died."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from seg_runner.errors import add_note

__all__ = [
    "NamedDataset",
    "Reading",
    "copy_loader",
    "describe_sample",
    "is_plain",
    "is_streaming",
    "quiet",
    "read",
    "shut_down",
    "shut_down_loader",
    "starting",
]

PATIENCE = 2.0
"""Seconds that workers have to end, all together."""


class Reading:
    """What each worker of a loader is reading, in memory that all processes share.

    Args:
        workers: How many there are.
    """

    def __init__(self, workers: int) -> None:
        rows: Any = torch.zeros(workers, 4, dtype=torch.int64)
        self._rows: torch.Tensor = rows.share_memory_()  # per worker: pid, pass, index, whether anything is told

    def tell(self, index: int, epoch: int) -> None:
        """Called in a worker: this sample is being read."""
        worker = get_worker_info()
        if worker is not None and isinstance(index, int):
            self._rows.numpy()[worker.id] = os.getpid(), epoch, index, 1

    def death(self, iterator: Any, error: Exception, dataset: Any) -> str | None:
        """Which worker of a torch iterator died, and what it was reading then; None where all live.

        Args:
            iterator: The iterator that has the workers.
            error: What it raised.
            dataset: The user's data set.
        """
        workers = {worker.sentinel: worker for worker in getattr(iterator, "_workers", [])}
        if str(error).startswith("Caught "):
            return None
        dead = wait(list(workers), timeout=2.0)
        pids = {workers[sentinel].pid for sentinel in dead}
        for pid, epoch, index, told in self._rows.tolist():
            if told and (pid in pids or f"pid {pid})" in str(error)):
                return (
                    f"the data loader's worker {pid} died while reading {describe_sample(dataset, index)}"
                    f"{'' if epoch < 0 else f' in pass {epoch}'}. Was it killed for memory? "
                    "Fewer workers (num_workers) need less"
                )
        return None


def read(dataset: Any, index: Any, reading: Reading | None, epoch: int = -1) -> Any:
    """One sample; where it fails, the exception says which one it was.

    Args:
        dataset: A map-style data set.
        index: Which sample.
        reading: Where a worker tells what it is at.
        epoch: The pass, where passes are counted.
    """
    if reading is not None:
        reading.tell(index, epoch)
    try:
        return dataset[index]
    except Exception as error:
        add_note(error, f"while reading {describe_sample(dataset, index)}{'' if epoch < 0 else f' in pass {epoch}'}")
        raise


class NamedDataset(Dataset[Any]):
    """A data set that is read as it is; a sample that fails is named. Its attributes can be read through it.

    Args:
        dataset: The user's map-style data set.
        reading: Where workers tell what they are at; None for none.
    """

    def __init__(self, dataset: Any, reading: Reading | None = None) -> None:
        self.dataset, self.reading = dataset, reading
        self.__getitems__ = self._several if callable(getattr(dataset, "__getitems__", None)) else None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        return read(self.dataset, index, self.reading)

    def _several(self, indices: list[Any]) -> Any:
        try:
            return self.dataset.__getitems__(indices)
        except Exception as error:
            names = ", ".join(describe_sample(self.dataset, index) for index in indices)
            add_note(error, f"while reading one of {names}")
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


def shut_down(iterator: Any) -> None:
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


def shut_down_loader(loader: Any) -> None:
    """Stop the persistent workers of a torch loader; its next pass starts new ones."""
    iterator = getattr(loader, "_iterator", None)
    if isinstance(loader, DataLoader) and iterator is not None:
        shut_down(iterator)
        loader._iterator = None


def is_plain(loader: Any) -> bool:
    """Whether this is a torch loader that reads a map-style data set in torch's own way."""
    own = isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__
    return own and not is_streaming(loader.dataset)


def is_streaming(dataset: Any) -> bool:
    """Whether the data set has no indices (torch's IterableDataset)."""
    return isinstance(dataset, IterableDataset)


def copy_loader(loader: Any, dataset: Any, order: Any, **changes: Any) -> DataLoader[Any]:
    """A torch DataLoader with another data set and order, otherwise like the given one.

    Args:
        loader: The given one.
        dataset: The other data set.
        order: Gives batches of keys, or single keys where the given loader makes no batches.
        **changes: Other arguments of DataLoader that differ.
    """
    names = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context")
    options = {name: getattr(loader, name) for name in (*names, "prefetch_factor", "persistent_workers")}
    ordered = {"batch_sampler": order} if loader.batch_sampler is not None else {"batch_size": None, "sampler": order}
    with quiet():
        return DataLoader(dataset, **{**options, **ordered, **changes})


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
                signal.signal(signal.SIGCHLD, partial(_told_later, handler))


def _told_later(handler: Callable[[int, Any], Any], number: int, frame: Any) -> None:
    with suppress(RuntimeError):
        handler(number, frame)


@contextmanager
def quiet() -> Iterator[None]:
    """What torch has to say about the number of workers, it said to the user's loader."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def describe_sample(dataset: Any, index: Any) -> str:
    """A sample by number and, where the data set tells, by path.

    >>> describe_sample([3, 4], 1)
    'sample 1 of list'
    """
    text = f"sample {index} of {type(dataset).__name__}"
    path = _path_of(dataset, index)
    return f"{text} ({path})" if path else text


def _path_of(dataset: Any, index: Any) -> str:
    try:
        if callable(getattr(dataset, "get_data_info", None)):
            return str(dataset.get_data_info(index).get("img_path", ""))
        for name in ("samples", "imgs", "images", "image_paths", "img_paths", "paths", "files"):
            entries = getattr(dataset, name, None)
            if isinstance(entries, Sequence) and index < len(entries):
                entry = entries[index][0] if isinstance(entries[index], tuple | list) else entries[index]
                if isinstance(entry, str | os.PathLike):
                    return os.fspath(entry)
    except Exception:  # a name is only wished for; the error being described matters more
        return ""
    return ""
