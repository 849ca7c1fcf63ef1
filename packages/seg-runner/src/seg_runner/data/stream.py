"""The stream of training batches: endless, with a position that a run can be put at without reading data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from seg_runner.data.indexed_source import IndexedSource, position_state, source_of
from seg_runner.data.named_samples import describe_sample
from seg_runner.data.order import Position
from seg_runner.data.other_sources import PlainSource
from seg_runner.process.randomness import Randomness, seed_step

__all__ = ["TrainBatches", "dataset_fingerprint"]


class TrainBatches:
    """Batch after batch, pass after pass, for ever. After each, the main process is seeded for the step to come.

    The user's loader is left as it is: a torch DataLoader over a map-style data set is copied privately, so that each
    sample gets its own random numbers and the stream can begin anywhere. A pass begins at the first `next()` that
    needs it, that is, after the hooks of `before_train_epoch` have run.

    Args:
        loader: A torch DataLoader, a loader with `state_dict` of its own, or any iterable of batches.
        randomness: The run's.
        rank: This process.
        world_size: Processes that share the data.

    >>> batches = TrainBatches([10, 20, 30], Randomness(seed=0))
    >>> batches.seek(4)
    >>> next(batches), next(batches), batches.iteration
    (20, 30, 6)
    """

    def __init__(self, loader: Any, randomness: Randomness, rank: int = 0, world_size: int = 1) -> None:
        self.loader, self.randomness, self.rank, self.world_size = loader, randomness, rank, world_size
        self.iteration = 0
        self.source: Any = source_of(loader, randomness, rank, world_size)
        self._indexed = isinstance(self.source, IndexedSource)
        self._counted = isinstance(self.source, PlainSource)
        self._recent: deque[tuple[int, Any]] = deque(maxlen=4)

    @property
    def batches_per_pass(self) -> int | None:
        """`len(loader)`, or None where it has no length."""
        try:
            return len(self.loader)
        except TypeError:
            return None

    @property
    def may_read_ahead(self) -> bool:
        """Whether the position of a step is still known when the batch after it has been read."""
        return self._indexed or self._counted

    @property
    def notes(self) -> list[str]:
        """What a resumed run will not get back, in words."""
        return list(self.source.notes)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = self.source.fetch()
        if self._indexed:
            self._recent.append((self.iteration + 1, self.source.position))
        elif self._counted:
            self._recent.append((self.iteration + 1, self.source.state()))
        seed_step(self.randomness, self.iteration, self.rank)
        self.iteration += 1
        return batch

    def open(self) -> None:
        """Start the workers of `stream='mmengine'` now: there, even starting a loader draws a random number."""
        source: Any = self.source
        if not self.randomness.by_sample and getattr(source, "_iterator", 0) is None:
            source._iterator = source.restart()

    def seek(self, iteration: int) -> None:
        """Go to where a run from the beginning stands after `iteration` batches; reads no sample of a torch loader."""
        self.source.seek(iteration)
        self._moved(iteration)

    def _moved(self, iteration: int) -> None:
        self.iteration = iteration
        self._recent.clear()

    def last_samples(self, limit: int = 8) -> list[str]:
        """The samples of the batch delivered last, in words; empty where the loader does not say."""
        if not isinstance(self.source, IndexedSource) or not self.iteration:
            return []
        return [describe_sample(self.source.dataset, key[1]) for key in self.source.last[:limit]]

    def state_dict(self, iteration: int | None = None) -> dict[str, Any]:
        """The position after `iteration` batches (None: all that were delivered), seed, and what the data look like."""
        wanted = self.iteration if iteration is None else iteration
        recent = dict(self._recent).get(wanted)
        position = self.source.state() if recent is None else recent
        return {
            "iteration": wanted,
            "seed": self.randomness.seed,
            "stream": self.randomness.stream,
            "world_size": self.world_size,
            "batch_size": getattr(self.loader, "batch_size", None),
            "dataset": dataset_fingerprint(getattr(self.loader, "dataset", None)),
            "position": position_state(position) if isinstance(position, Position) else position,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> list[str]:
        """Go to a saved position and follow its seed. Returns what else changed, in words."""
        changes = self.changes(state_dict)
        if state_dict.get("seed") is not None:
            self.follow(int(state_dict["seed"]))
        self.source.load(dict(state_dict.get("position", {})), int(state_dict["iteration"]))
        self._moved(int(state_dict["iteration"]))
        return changes

    def restart(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a saved position, but with a fresh pass over the data (`resume_data=False`)."""
        if isinstance(self.source, IndexedSource):
            epoch = int(dict(state_dict.get("position", {})).get("pass", 0)) + 1
            self.source.load({"pass": epoch, "offset": 0}, 0)
        self._moved(int(state_dict.get("iteration", 0)))

    def follow(self, seed: int) -> None:
        """Take another seed."""
        if seed == self.randomness.seed:
            return
        self.randomness = replace(self.randomness, seed=seed)
        if isinstance(self.source, IndexedSource):
            self.source.reseed(self.randomness)
        elif hasattr(self.source, "randomness"):
            self.source.randomness = self.randomness

    def changes(self, state_dict: dict[str, Any]) -> list[str]:
        """What differs from the saved run: stream, ranks, batch size, data set."""
        now = self.state_dict()
        keys = ["stream", "world_size", "batch_size", "dataset"]
        return [
            f"data: {key} was {state_dict[key]}, now {now[key]}"
            for key in keys
            if key in state_dict and state_dict[key] != now[key]
        ]

    def close(self) -> None:
        """Stop the workers."""
        self.source.close()


def dataset_fingerprint(dataset: Any) -> dict[str, Any]:
    """What says whether a data set is still the same: class, length, first and last sample; or its own `fingerprint()`.

    >>> dataset_fingerprint([5, 6])["length"]
    2
    """
    if dataset is None:
        return {}
    found: dict[str, Any] = {"class": f"{type(dataset).__module__}.{type(dataset).__qualname__}"}
    if callable(getattr(dataset, "fingerprint", None)):
        return {**found, "fingerprint": str(dataset.fingerprint())}
    try:
        found["length"] = len(dataset)
    except TypeError:
        return found
    if found["length"]:
        ends = (0, found["length"] - 1)
        found["ends"] = [describe_sample(dataset, index).partition(" of ")[2] for index in ends]
    return found
