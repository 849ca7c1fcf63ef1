"""Data sets that name what cannot be read: which sample, from which file; in workers too, where one dies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any, Protocol, SupportsIndex

import torch
from torch.utils.data import Dataset, get_worker_info

from seg_runner.errors import add_note

__all__ = ["DatasetProxy", "NamedDataset", "Samples", "WorkerProgress", "dataset_fingerprint", "describe_sample"]

SIGNS_OF_DEATH = (RuntimeError, ConnectionError, EOFError)
"""What torch raises where a worker is gone."""
DEATH_PATIENCE = 2.0
"""Seconds to wait for a worker that seems to have died: torch can notice a death before the system reports it."""


class Samples(Protocol):
    """A map-style data set: torch's, a list, or anything else that is asked by index."""

    def __getitem__(self, index: int, /) -> object:
        """Return one sample."""


class DatasetProxy(Dataset[Any]):
    """Another data set, read in another way; its attributes can be read through this one.

    Args:
        dataset: The user's map-style data set.
    """

    def __init__(self, dataset: Samples) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # only who asks for it needs a length

    def __getattr__(self, name: str) -> Any:
        # A copy or a worker asks for special methods and for `dataset` before the attributes are back: no circle then.
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


class WorkerProgress:
    """What each worker of a loader is reading, in memory that all processes share.

    Args:
        workers: How many there are.
    """

    def __init__(self, workers: int) -> None:
        rows = torch.zeros(workers, 4, dtype=torch.int64)
        rows.share_memory_()  # type: ignore[no-untyped-call]
        self._rows = rows  # per worker: pid, pass, index, whether it began to read at all

    def record(self, index: object, epoch: int) -> None:
        """Write down, in a worker, that this sample is being read."""
        worker = get_worker_info()
        if worker is not None and isinstance(index, int):
            self._rows.numpy()[worker.id] = os.getpid(), epoch, index, 1

    def death(self, iterator: object, error: Exception, dataset: object) -> str | None:
        """Say which worker of a torch iterator died, and what it was reading then; None where no death was the cause.

        Args:
            iterator: The iterator that has the workers.
            error: What it raised.
            dataset: The user's data set.
        """
        if not isinstance(error, SIGNS_OF_DEATH) or str(error).startswith("Caught "):  # sent by a living worker
            return None
        workers = {worker.sentinel: worker for worker in getattr(iterator, "_workers", [])}
        dead = wait(list(workers), timeout=DEATH_PATIENCE)
        pids = {workers[sentinel].pid for sentinel in dead}
        for pid, epoch, index, began in self._rows.tolist():
            if began and (pid in pids or f"pid {pid})" in str(error)):
                return (
                    f"the data loader's worker {pid} died while reading {describe_sample(dataset, index)}"
                    f"{'' if epoch < 0 else f' in pass {epoch}'}. Was it killed for memory? "
                    "Fewer workers (num_workers) need less"
                )
        return None


class NamedDataset(DatasetProxy):
    """A data set that is read as it is; a sample that fails is named.

    Args:
        dataset: The user's map-style data set.
        progress: Where workers write down what they read; None without workers.
    """

    def __init__(self, dataset: Samples, progress: WorkerProgress | None = None) -> None:
        super().__init__(dataset)
        self.progress = progress
        self.__getitems__ = self._several if callable(getattr(dataset, "__getitems__", None)) else None

    def __getitem__(self, index: int) -> object:
        if self.progress is not None:
            self.progress.record(index, -1)  # passes are not counted here
        try:
            return self.dataset[index]
        except Exception as error:
            add_note(error, f"while reading {describe_sample(self.dataset, index)}")
            raise

    def _several(self, indices: list[int]) -> object:
        try:
            return self.dataset.__getitems__(indices)  # type: ignore[attr-defined]  # torch's word for a whole batch
        except Exception as error:
            names = ", ".join(describe_sample(self.dataset, index) for index in indices)
            add_note(error, f"while reading one of {names}")
            raise


def describe_sample(dataset: object, index: object) -> str:
    """Return a sample's name: its number and, where the data set tells, its path.

    >>> describe_sample([3, 4], 1)
    'sample 1 of list'
    """
    text = f"sample {index} of {type(dataset).__name__}"
    path = _path_of(dataset, index)
    return f"{text} ({path})" if path else text


def _path_of(dataset: object, index: object) -> str:
    try:
        if callable(find := getattr(dataset, "get_data_info", None)):
            return str(find(index).get("img_path", ""))
        for name in ("samples", "imgs", "images", "image_paths", "img_paths", "paths", "files"):
            entries = getattr(dataset, name, None)
            if isinstance(entries, Sequence) and isinstance(index, SupportsIndex) and int(index) < len(entries):
                entry = entries[int(index)]
                entry = entry[0] if isinstance(entry, tuple | list) else entry
                if isinstance(entry, str | os.PathLike):
                    return os.fspath(entry)
    except Exception:  # a name is only wished for; the error being described matters more
        return ""
    return ""


def dataset_fingerprint(dataset: object) -> dict[str, object]:
    """Return what says whether a data set is still the same: class, length, two samples; or its own `fingerprint()`.

    >>> dataset_fingerprint([5, 6])["length"]
    2
    """
    if dataset is None:
        return {}
    found: dict[str, object] = {"class": f"{type(dataset).__module__}.{type(dataset).__qualname__}"}
    if callable(own := getattr(dataset, "fingerprint", None)):
        return {**found, "fingerprint": str(own())}
    try:
        length = len(dataset)  # type: ignore[arg-type]  # a data set without a length raises the TypeError
    except TypeError:
        return found
    found["length"] = length
    if length:
        found["ends"] = [describe_sample(dataset, index).partition(" of ")[2] for index in (0, length - 1)]
    return found
