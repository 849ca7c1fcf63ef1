"""The stream of training batches: endless, with a position that a run can be put at without reading data."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import tee
from typing import Any

from torch.utils.data import DataLoader

from seg_runner.checks import count_of
from seg_runner.data.named_dataset import WorkerProgress, dataset_fingerprint, describe_sample
from seg_runner.data.order import KeyBatch, Position, ordered
from seg_runner.data.other_sources import IterableSource, StatefulSource, keeps_position
from seg_runner.data.private_loader import KeyedLoader, is_map_style
from seg_runner.data.samples import SampleKey, SeededDataset
from seg_runner.data.seeds import seed_step
from seg_runner.distributed.virtual.world import RankBatches, own_ranks
from seg_runner.errors import add_note
from seg_runner.process.randomness import Randomness

__all__ = ["TrainBatches"]

LOG = logging.getLogger("seg_runner")

MOST_NAMED = 8
"""So many samples of a batch are named in an error."""
REMEMBERED = 4
"""So many positions are kept: a checkpoint stands behind a step, and the batch after it may be read already."""


class TrainBatches:
    """Batch after batch, pass after pass, for ever. After each, the main process is seeded for the step to come.

    The user's loader is left as it is: a torch DataLoader over a map-style data set is read privately, so that each
    sample gets its own random numbers and the stream can begin anywhere. A pass begins at the first `next()` that
    needs it, that is, after the hooks of `before_train_epoch` have run.

    Args:
        loader: A torch DataLoader, a loader with `state_dict` of its own, or any iterable of batches.
        randomness: The run's.
        rank: This process.
        world_size: Processes that share the data.
        tells_passes: Tell the sampler which pass begins; False where hooks do, as in MMEngine's epochs.

    >>> batches = TrainBatches([10, 20, 30], Randomness(seed=0))
    >>> batches.seek(4)
    >>> next(batches), next(batches), batches.iteration
    (20, 30, 6)
    """

    def __init__(
        self,
        loader: Iterable[object],
        randomness: Randomness,
        rank: int = 0,
        world_size: int = 1,
        *,
        tells_passes: bool = True,
    ) -> None:
        self.loader, self.randomness = loader, randomness
        self.ranks = own_ranks(randomness.ranks, rank, world_size) if randomness.ranks else range(rank, rank + 1)
        self.rank, self.world_size = self.ranks[0], randomness.ranks or world_size
        self.iteration = 0
        self.source: IndexedSource | StatefulSource | IterableSource
        if keeps_position(loader):
            self.source = StatefulSource(loader)
        elif is_map_style(loader) and randomness.by_sample:
            self.source = IndexedSource(loader, randomness, self.ranks, self.world_size)
        elif randomness.ranks:
            raise TypeError(
                f"randomness.world='exact' deals single samples to its {randomness.ranks} virtual ranks, and "
                f"{type(loader).__name__} hands out batches only: give a torch DataLoader over a data set with indices"
            )
        else:
            self.source = IterableSource(loader, randomness, tells_passes or randomness.by_sample)
        self._recent: deque[tuple[int, Position | dict[str, Any] | None]] = deque(maxlen=REMEMBERED)

    @property
    def batches_per_pass(self) -> int | None:
        """Return how many batches a pass over the data has, on all ranks the same; None where nobody knows.

        That is `len(loader)`, but for several processes: a torch loader does not know how its samples are dealt out.
        """
        if isinstance(self.source, IndexedSource) and self.world_size > 1:
            return self.source.count()
        try:
            return len(self.loader)  # type: ignore[arg-type]  # a loader without a length raises the TypeError
        except TypeError:
            return None

    @property
    def share(self) -> float:
        """What the loss of the latest batch counts when ranks are averaged: 1 where all have equally many samples."""
        if not isinstance(self.source, IndexedSource) or self.randomness.ranks:  # virtual ranks have one each
            return 1.0
        return getattr(self.source.last, "share", 1.0)

    @property
    def may_read_ahead(self) -> bool:
        """Tell whether the position of a step is still known when the batch after it has been read."""
        return not isinstance(self.source, StatefulSource)

    @property
    def notes(self) -> list[str]:
        """Say what a resumed run will not get back."""
        return list(self.source.notes)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = self.source.fetch() if not self.randomness.ranks else self._of_all_ranks()
        self._recent.append((self.iteration + 1, self.source.position))
        if not self.randomness.ranks:
            seed_step(self.randomness, self.iteration, self.rank)
        self.iteration += 1
        return batch

    def _of_all_ranks(self) -> RankBatches:
        """Return the batches of this process's virtual ranks, and let their step seed itself for each."""
        assert isinstance(self.source, IndexedSource)
        batches, shares, averages, keys = [], [], [], list[SampleKey]()
        for _ in self.ranks:
            batches.append(self.source.fetch())
            shares.append(getattr(self.source.last, "share", 1.0))
            averages.append(getattr(self.source.last, "average", 1.0))
            keys += self.source.last
        self.source.last = keys
        randomness, iteration, ranks = self.randomness, self.iteration, self.ranks

        def seed(place: int | None) -> None:
            seed_step(randomness, iteration, self.world_size if place is None else ranks[place])

        seed(None)
        return RankBatches(batches, shares, seed, averages)

    def open(self) -> None:
        """Start the workers now where the stream asks for it: even starting a loader draws a random number."""
        if self.randomness.starts_early and not isinstance(self.source, IndexedSource):
            self.source.open()

    def seek(self, iteration: int) -> None:
        """Go to where a run from the beginning stands after `iteration` batches; reads no sample of a torch loader."""
        self.source.seek(iteration)
        self._count_from(iteration)

    def _count_from(self, iteration: int) -> None:
        self.iteration = iteration
        self._recent.clear()

    def last_samples(self, limit: int = MOST_NAMED) -> list[str]:
        """Name the samples of the batch delivered last; none where the loader does not say."""
        if not isinstance(self.source, IndexedSource) or not self.iteration:
            return []
        return [describe_sample(self.source.dataset, index) for _, index, _ in self.source.last[:limit]]

    def state_dict(self, iteration: int | None = None) -> dict[str, Any]:
        """Return the position after `iteration` batches (None: all so far), the seed, and what the data look like."""
        wanted = self.iteration if iteration is None else iteration
        position = dict(self._recent).get(wanted)
        if position is None:
            position = self.source.state()
        return {
            "iteration": wanted,
            "seed": self.randomness.seed,
            "stream": self.randomness.stream,
            "world_size": self.world_size,
            "batch_size": getattr(self.loader, "batch_size", None),
            "dataset": dataset_fingerprint(getattr(self.loader, "dataset", None)),
            "position": position.state() if isinstance(position, Position) else position,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> list[str]:
        """Go to a saved position and follow its seed. Returns what else changed, in words."""
        changes, before = self.changes(state_dict), state_dict.get("world_size")
        if self.randomness.ranks and before not in (None, self.randomness.ranks):
            text = "randomness.ranks=%d, but the checkpoint is of a run with %s ranks: from here on it is another run"
            LOG.warning(text, self.randomness.ranks, before)
        if state_dict.get("seed") is not None:
            self.follow(int(state_dict["seed"]))
        self.source.load(dict(state_dict.get("position", {})), int(state_dict["iteration"]))
        self._count_from(int(state_dict["iteration"]))
        return changes

    def restart(self, state_dict: Mapping[str, Any]) -> None:
        """Go on counting from a saved position, but with a fresh pass over the data (`resume_data=False`)."""
        if isinstance(self.source, IndexedSource):
            epoch = int(dict(state_dict.get("position", {})).get("pass", 0)) + 1
            self.source.load({"pass": epoch, "offset": 0}, 0)
        self._count_from(int(state_dict.get("iteration", 0)))

    def follow(self, seed: int) -> None:
        """Take another seed."""
        if seed != self.randomness.seed:
            self.randomness = replace(self.randomness, seed=seed)
            self.source.reseed(self.randomness)

    def changes(self, state_dict: Mapping[str, Any]) -> list[str]:
        """Say what differs from the saved run: stream, ranks, batch size, data set."""
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


class IndexedSource:
    """A torch loader over a map-style data set, read so that it can begin anywhere without reading a sample.

    Without workers the samples are read here, since torch's own iterator takes 15 us more for each batch. With workers,
    torch's loader reads them: a private copy of the user's, whose batch sampler is the order from where it stands.
    """

    def __init__(self, loader: DataLoader[object], randomness: Randomness, ranks: range, world_size: int) -> None:
        self.notes: list[str] = []
        self.loader, self.ranks, self.world_size = loader, ranks, world_size
        self.dataset = loader.dataset
        self.position = Position()
        self.last: list[SampleKey] = []
        self._collate: Callable[[Any], Any] = loader.collate_fn
        self._one_sample = loader.batch_sampler is None
        self._first_seed = randomness.seed
        self._batches: Iterator[KeyBatch] | None = None
        self._reader: KeyedLoader | None = None
        self.reseed(randomness)

    def reseed(self, randomness: Randomness) -> None:
        """Follow another seed (a resumed run keeps that of its checkpoint)."""
        self.close()
        self._order = ordered(self.loader, self._order_seed(randomness), self.ranks, self.world_size)
        workers = self.loader.num_workers
        self._dataset = SeededDataset(self.dataset, randomness.seed, WorkerProgress(workers) if workers else None)
        if workers or self.loader.pin_memory:
            self._reader = KeyedLoader(self.loader, self._dataset, randomness.seed)

    def _order_seed(self, randomness: Randomness) -> int:
        """Return the seed that the user gave the sampler itself, if any; the runner's own follows the run."""
        sampler = getattr(self.loader.batch_sampler, "sampler", self.loader.sampler)
        own = getattr(sampler, "seed", None)
        return own if isinstance(own, int) and own not in (0, self._first_seed) else randomness.seed

    def fetch(self) -> Any:
        """Return the next batch; where a pass ends, the next one begins."""
        batches = self._batches or self._begin(self.position)
        keys, position = next(batches, None) or self._next_pass()
        try:
            if self._reader is not None:
                batch = next(self._reader.batches)
            elif self._one_sample:
                batch = self._collate(self._dataset[keys[0]])
            else:
                batch = self._collate([self._dataset[key] for key in keys])
        except Exception as error:
            self._explain(error, keys)
            raise
        self.last, self.position = keys, position
        return batch

    def count(self) -> int:
        """Return how many batches a pass has."""
        self._follow_loader()
        return self._order.count()

    def _begin(self, position: Position) -> Iterator[KeyBatch]:
        self.position = position
        self._follow_loader()
        batches = self._order.batches(position)
        if self._reader is not None:
            batches, ahead = tee(batches)  # the workers are ahead by what is on its way
            self._reader.start(ahead)
        self._batches = batches
        return batches

    def _follow_loader(self) -> None:
        """Cut the pass anew where a hook has changed the batch size."""
        if getattr(self._order, "batch_size", None) != getattr(self.loader.batch_sampler, "batch_size", None):
            self._order = ordered(self.loader, self._order.seed, self.ranks, self.world_size)

    def _next_pass(self) -> KeyBatch:
        """Begin the next pass, with new workers unless they are persistent, and return its first batch."""
        if self._reader is not None:
            next(self._reader.batches, None)  # where there is nothing left, torch ends its workers
        first = next(self._begin(Position(self.position.epoch + 1)), None)
        if first is None:
            raise ValueError(
                f"the training loader gives no batch: {len(self._dataset)} samples, "
                f"{self._order.step} wanted per step. Is the data set empty, or smaller than one batch with drop_last?"
            )
        return first

    def _explain(self, error: Exception, keys: Sequence[SampleKey]) -> None:
        """Name the worker that died, or the samples that could be read, but not put together."""
        if self._reader is not None and (death := self._reader.death(error)) is not None:
            self.close()
            raise RuntimeError(death) from error
        text = "\n".join([str(error), *getattr(error, "__notes__", [])])
        if "while reading" not in text:
            names = [describe_sample(self.dataset, index) for _, index, _ in keys[:MOST_NAMED]]
            more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
            add_note(
                error, f"while putting together {', '.join(names)}{more}: do all of them have the same size and parts?"
            )
        if isinstance(error, StopIteration):  # left as it is, it would end the stream without a word
            raise RuntimeError("the data set or the collate_fn raised StopIteration") from error

    def seek(self, iteration: int) -> None:
        """Go anywhere; reads nothing."""
        self.close()
        self.position = self._order.position(iteration)

    def state(self) -> dict[str, Any]:
        """Return pass and offset of the batch fetched last."""
        return self.position.state()

    def load(self, state: Mapping[str, Any], iteration: int) -> None:
        """Go to a saved position; reads nothing."""
        self.close()
        if "pass" not in state:
            self.seek(iteration)
            return
        epoch, offset = count_of(state["pass"]), count_of(state.get("offset"))
        if epoch is None or offset is None:
            raise ValueError(f"the checkpoint has an impossible position in the data: {state!r:.200}")
        self.position = Position(epoch, offset)

    def close(self) -> None:
        """Stop the workers."""
        self._batches = None
        if self._reader is not None:
            self._reader.close()
