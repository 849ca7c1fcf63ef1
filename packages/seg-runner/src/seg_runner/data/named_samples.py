"""Data sets that name what they give: which sample, from which file, with which seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

from seg_runner.errors import add_note
from seg_runner.process.randomness import derive_seed, find_generators, reseed, seed_generators

__all__ = ["NamedDataset", "Reading", "SampleKey", "SeededDataset", "describe_sample", "read"]


SampleKey = tuple[int, int, int]
"""(pass, index, how often this pass has shown the index before)."""


class _Slice(Dataset[Any]):
    """The first `size` samples of a data set (`num_batch_per_epoch`)."""

    def __init__(self, dataset: Any, size: int) -> None:
        self.dataset, self.size = dataset, min(size, len(dataset))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


class SeededDataset(Dataset[Any]):
    """A data set asked by (pass, index, repeat): seeds all generators from that key, then reads the sample.

    Attributes of the data set inside can be read through it. A sample that fails gains a note with its name.

    Args:
        dataset: The user's map-style data set.
        seed: The run's seed.
        reading: Where workers tell what they are at; None for none.
    """

    def __init__(self, dataset: Any, seed: int, reading: Reading | None = None) -> None:
        self.dataset, self.seed, self.reading = dataset, seed, reading
        self._generators: list[Any] | None = None

    __getitems__ = None  # torch looks for it in every batch: found here, it is not looked for in the data set

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Any:
        epoch, index, repeat = key
        seed = derive_seed(self.seed, epoch, index, repeat) if repeat else derive_seed(self.seed, epoch, index)
        if self._generators is None:
            self._generators = list(find_generators(self.dataset).values())
        seed_generators(seed)
        for place, generator in enumerate(self._generators):
            reseed(generator, derive_seed(seed, place))
        return read(self.dataset, index, self.reading, epoch)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


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
