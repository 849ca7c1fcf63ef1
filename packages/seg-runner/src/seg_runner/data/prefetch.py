"""Prefetch: the next batch travels to the device while the current one is computed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from seg_runner.data.seeds import seed_step
from seg_runner.data.stream import TrainBatches
from seg_runner.distributed.virtual.world import RankBatches
from seg_runner.process.device import current_stream, is_accelerator, on_stream, stream_of
from seg_runner.process.randomness import Randomness
from seg_runner.trees import tensors_of, to_device

__all__ = ["Prefetch", "prefetched"]


def prefetched(
    batches: TrainBatches, device: torch.device | str, randomness: Randomness, rank: int = 0
) -> TrainBatches | Prefetch:
    """Return the training batches of a run, prefetched where that helps and changes nothing; else as they are.

    That is on accelerators, and with `stream='sample'`: the others draw numbers in the order of reading.
    A loader with a state of its own stands behind the batch that it gave last, so nothing is read ahead from it.
    """
    if not is_accelerator(device) or not randomness.by_sample or not batches.may_read_ahead:
        return batches
    own = randomness.ranks or rank  # of virtual ranks the step seeds each
    return Prefetch(batches, device, seed=lambda step: seed_step(randomness, step, own))


class Prefetch:
    """A stream of batches that are on the device already.

    One batch is read ahead and copied on a stream of its own, so that the copy overlaps with the computation; the
    copy is asynchronous where the loader pins memory. Nothing is read ahead over the end of a pass, so that what
    hooks do between passes (a sampler's `set_epoch`) comes in time. Random numbers of the step are those that it has
    without prefetch.

    Args:
        batches: The stream as it is read.
        device: Where the batches go.
        ahead: Whether to read ahead; by default only for accelerators.
        seed: Called with the number of the step to come, where something may have been read ahead of it.
    """

    def __init__(
        self,
        batches: TrainBatches,
        device: torch.device | str,
        ahead: bool | None = None,
        seed: Callable[[int], None] | None = None,
    ) -> None:
        self.batches = batches
        self.device = torch.device(device)
        self.ahead = is_accelerator(self.device) if ahead is None else ahead
        self._seed = seed
        self._stream = stream_of(self.device)
        self._next: list[tuple[Any, float]] = []
        self.share = 1.0
        self._delivered = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch, self.share = self._next.pop() if self._next else self._fetch()
        self._arrive(batch)
        self._delivered += 1
        length = self.batches.batches_per_pass
        if self.ahead and not (length and self._delivered % length == 0):
            self._read_ahead()
        if self.ahead and self._seed is not None:
            self._seed(self._delivered - 1)
        return batch

    def seek(self, iteration: int) -> None:
        """Go to where a run stands after so many batches; what was read ahead is dropped."""
        self._next.clear()
        self._delivered = iteration
        self.batches.seek(iteration)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> list[str]:
        """Go to a saved position."""
        self._next.clear()
        self._delivered = int(state_dict["iteration"])
        return self.batches.load_state_dict(state_dict)

    def restart(self, state_dict: Mapping[str, Any]) -> None:
        """Go on counting, with a fresh pass over the data."""
        self._next.clear()
        self._delivered = int(state_dict.get("iteration", 0))
        self.batches.restart(state_dict)

    def follow(self, seed: int) -> None:
        """Take another seed; what was read ahead is read again."""
        if self._next:
            self.seek(self._delivered)
        self.batches.follow(seed)

    def last_samples(self, limit: int = 8) -> list[str]:
        """Name the samples of the latest batch; nothing while another one was read after it."""
        return [] if self._next else self.batches.last_samples(limit)

    def close(self) -> None:
        """Drop what was read ahead, and stop the workers."""
        self._next.clear()
        self.batches.close()

    def __getattr__(self, name: str) -> Any:
        if name == "batches":
            raise AttributeError(name)
        return getattr(self.batches, name)

    def _read_ahead(self) -> None:
        try:
            self._next.append(self._fetch())
        except StopIteration:
            self.ahead = False

    def _fetch(self) -> tuple[Any, float]:
        """Return the next batch on the device, and what its loss counts."""
        batch = next(self.batches)
        with on_stream(self.device, self._stream):
            if isinstance(batch, RankBatches):
                return batch.moved(lambda one: to_device(one, self.device)), 1.0
            return to_device(batch, self.device), self.batches.share

    def _arrive(self, batch: object) -> None:
        """Let the computation wait for the copy on the device, and keep the memory until it is done with it."""
        if self._stream is None:
            return
        current = current_stream(self.device)
        current.wait_stream(self._stream)
        for tensor in tensors_of(batch):
            tensor.record_stream(current)
