"""Samples: each read with random numbers of its own. One seed per sample and one per step, without any history."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import torch

from seg_runner.data.named_dataset import DatasetProxy, Samples, WorkerProgress, describe_sample
from seg_runner.errors import add_note
from seg_runner.process.device import accelerator, seed_accelerator
from seg_runner.process.randomness import Randomness, find_generators, reseed

if TYPE_CHECKING:
    from seg_runner.process.randomness import Generator

__all__ = ["SampleKey", "SeededDataset", "derive_seed", "seed_generators", "seed_step"]

SampleKey = tuple[int, int, int]
"""(pass, index, how often this pass has shown the index before)."""


def derive_seed(*parts: int | str) -> int:
    """Return 64 bits that depend on every part and on nothing else: blake2b of the parts.

    >>> derive_seed(0, 1, 2) == derive_seed(0, 1, 2), derive_seed(0, 1, 2) == derive_seed(0, 12)
    (True, False)
    """
    text = (("%s," * len(parts)) % parts).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def seed_generators(*parts: int | str, kept: Sequence[Generator] = ()) -> int:
    """Seed python's, numpy's and torch's CPU generator (and OpenCV's, if it is loaded); about 8 microseconds.

    Args:
        *parts: What the seed is derived from.
        kept: Generators that the data set or the sampler keeps; each gets a seed of its own.

    Returns:
        The seed.
    """
    seed = derive_seed(*parts)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)
    cv2 = sys.modules.get("cv2")  # not imported for this: a run without OpenCV needs none
    if cv2 is not None:
        cv2.setRNGSeed(seed & 0x7FFFFFFF)
    for place, generator in enumerate(kept):
        reseed(generator, derive_seed(seed, place))
    return seed


def seed_step(randomness: Randomness, iteration: int, rank: int = 0) -> None:
    """Seed the main process for one training step from (seed, iteration, rank), so that dropout knows no history.

    Does nothing with `stream='mmengine'`.
    """
    if not randomness.by_sample:
        return
    seed = seed_generators("step", randomness.seed, iteration, rank)
    if accelerator() is not None:  # asked of torch once per process
        seed_accelerator(seed)


class SeededDataset(DatasetProxy):
    """A data set asked by (pass, index, repeat): seeds all generators from that key, then reads the sample.

    A sample that fails gains a note with its name.

    Args:
        dataset: The user's map-style data set.
        seed: The run's seed.
        progress: Where workers write down what they read; None without workers.
    """

    def __init__(self, dataset: Samples, seed: int, progress: WorkerProgress | None = None) -> None:
        super().__init__(dataset)
        self.seed, self.progress = seed, progress
        self._generators: list[Generator] | None = None

    __getitems__ = None  # torch looks for it in every batch: found here, it is not looked for in the data set

    def __getitem__(self, key: SampleKey) -> object:
        epoch, index, repeat = key
        if self._generators is None:  # found here, not in __init__: each worker process has generators of its own
            self._generators = list(find_generators(self.dataset).values())
        if repeat:
            seed_generators(self.seed, epoch, index, repeat, kept=self._generators)
        else:
            seed_generators(self.seed, epoch, index, kept=self._generators)
        if self.progress is not None:
            self.progress.record(index, epoch)
        try:
            return self.dataset[index]
        except Exception as error:
            add_note(error, f"while reading {describe_sample(self.dataset, index)} in pass {epoch}")
            raise
