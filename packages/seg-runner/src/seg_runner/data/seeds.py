"""Seeds: what they are derived from, and the generators that a step, or a sample, begins with.

To seed python's or numpy's generator costs 2 to 7 microseconds, and several times that where its 2.5 kB lie in no
cache; to compare its state with that after the seeding costs 0.1. No function tells the state so cheaply: it is read
where it lies in memory, after a check that it does lie there. Where the check fails (another build of python), the
state counts as changed, always.
"""

from __future__ import annotations

import ctypes
import functools
import random
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import torch

from seg_runner.process.device import accelerator, seed_accelerator
from seg_runner.process.randomness import Randomness, reseed

if TYPE_CHECKING:
    from seg_runner.process.randomness import Generator

__all__ = ["SampleSeeds", "Watched", "derive_seed", "seed_generators", "seed_step", "watched"]

TRIED = 64
"""So many samples are read with all generators seeded, while it is looked at which of them they draw from."""
WORDS = 624
"""Python's and numpy's generator are a Mersenne Twister: 624 words, and one more that counts how many were used."""


def derive_seed(*parts: int | str) -> int:
    """Return 64 bits that depend on every part and on nothing else: blake2b of the parts.

    >>> derive_seed(0, 1, 2) == derive_seed(0, 1, 2), derive_seed(0, 1, 2) == derive_seed(0, 12)
    (True, False)
    """
    text = (("%s," * len(parts)) % parts).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def seed_generators(*parts: int | str, kept: Sequence[Generator] = ()) -> int:
    """Seed python's, numpy's and torch's CPU generator (and OpenCV's, if it is loaded); about 12 microseconds.

    Args:
        *parts: What the seed is derived from.
        kept: Generators that the data set or the sampler keeps; each gets a seed of its own.

    Returns:
        The seed.
    """
    seed = derive_seed(*parts)
    for generator in watched():
        generator.seed(seed)
    _seed_others(seed, kept)
    return seed


def _seed_others(seed: int, kept: Sequence[Generator]) -> None:
    """Seed all generators but python's and numpy's."""
    torch.default_generator.manual_seed(seed)
    cv2 = sys.modules.get("cv2")  # not imported for this: a run without OpenCV needs none
    if cv2 is not None:
        cv2.setRNGSeed(seed & 0x7FFFFFFF)
    for place, generator in enumerate(kept):
        reseed(generator, derive_seed(seed, place))


def seed_step(randomness: Randomness, iteration: int, rank: int = 0) -> None:
    """Seed the main process for one training step from (seed, iteration, rank), so that dropout knows no history.

    Does nothing where the numbers come from the global generators, as with `stream='mmengine'`. All generators are
    seeded, since a step cannot be done again where it turns out to have drawn from one that was not.
    """
    if not randomness.by_sample:
        return
    seed = seed_generators("step", randomness.seed, iteration, rank)
    if accelerator() is not None:  # asked of torch once per process
        seed_accelerator(seed)


class SampleSeeds:
    """Seeds the generators for one sample after another: python's and numpy's only if samples draw from them.

    Most data sets never draw from one of these two, or from both, and to seed them would cost more than all else that
    a sample's numbers need. So the first samples have all generators seeded, and what none of them drew from is left
    alone then. It is looked at after each sample. If a sample drew from it after all, these were numbers of an earlier
    one: `fits` says so, the sample is to be read again, and the generator is seeded for every sample from then on. So
    the numbers are the same as if all were seeded always.

    Two things are not noticed: who copies a generator's state without drawing from it (`random.getstate()`), or draws
    and puts the state back; and what a process that is forked while the sample is read draws. A generator that the
    data set keeps is always seeded.

    Args:
        kept: The generators that the data set keeps.

    >>> seeds = SampleSeeds()
    >>> seeds.begin(5)
    >>> seeds.fits()
    True
    """

    def __init__(self, kept: Sequence[Generator] = ()) -> None:
        self.kept = kept
        self._begun = 0
        self._drawn = [False, False]  # python's, numpy's: whether a sample ever drew from it
        self._seeded = [True, True]  # whether it was seeded for this sample

    def begin(self, seed: int) -> None:
        """Seed for a sample that is read now."""
        trial = self._begun < TRIED
        self._begun += 1
        for place, generator in enumerate(watched()):
            # moved by others, a training step for instance: then it must be seeded to see whether the sample moves it
            self._seeded[place] = seeded = trial or self._drawn[place] or generator.moved()
            if seeded:
                generator.seed(seed)
        _seed_others(seed, self.kept)

    def fits(self) -> bool:
        """Tell, once the sample is read, whether all that it drew from was seeded for it."""
        fits = True
        for place, generator in enumerate(watched()):
            if not self._drawn[place] and generator.moved():
                self._drawn[place] = True
                fits = fits and self._seeded[place]
        return fits


class Watched:
    """A global generator, of which it can be told whether somebody drew from it since it was seeded.

    Args:
        seed: Seeds it.
        state: Returns its state; two are equal only if nobody drew, or set the state, in between.

    >>> python, numpy = watched()
    >>> python.seed(1)
    >>> python.moved(), random.random() > 0, python.moved()
    (False, True, True)
    """

    def __init__(self, seed: Callable[[int], object], state: Callable[[], object]) -> None:
        self._seed, self._state = seed, state
        self._left: object = None

    def seed(self, seed: int) -> None:
        """Seed it, and remember its state."""
        self._seed(seed)
        self._left = self._state()

    def moved(self) -> bool:
        """Tell whether its state is another one than `seed` has left."""
        return self._state() != self._left


@functools.cache  # the two are there from the beginning of a process to its end
def watched() -> tuple[Watched, Watched]:
    """Return python's and numpy's generator."""
    return Watched(random.seed, python_state()), Watched(seed_numpy, numpy_state())


def seed_numpy(seed: int) -> None:
    """Seed numpy's global generator, which takes 32 bits."""
    np.random.seed(seed & 0xFFFFFFFF)


def python_state() -> Callable[[], object]:
    """Return what reads the state of python's generator: in the object lie the count and the words."""
    internal = random.getstate()[1]
    owner = getattr(random.random, "__self__", None)  # the one object that all functions of `random` are methods of
    begin, kind = object.__basicsize__, random.Random.__base__
    if owner is None or kind is None or kind.__basicsize__ < begin + 4 * (WORDS + 1):
        return object
    return reader(id(owner) + begin, [internal[-1], *internal[:-1]])


def numpy_state() -> Callable[[], object]:
    """Return what reads the state of numpy's generator, whose address is public: the words and the count."""
    current: Callable[[], object] = getattr(np.random, "get_bit_generator")  # noqa: B009 (not in numpy's stubs)
    bits = current()
    known = np.random.get_state(legacy=False)
    if not isinstance(bits, np.random.MT19937) or not isinstance(known, dict):
        return object
    inner = known["state"]
    read = reader(bits.ctypes.state_address, [*inner["key"].tolist(), inner["pos"]])
    return lambda: read() if current() is bits else object()  # it can be exchanged


def reader(address: int, expected: Sequence[int]) -> Callable[[], object]:
    """Return what reads the bytes at an address, if they are these words now; else what returns no two equal things.

    >>> words = (ctypes.c_uint32 * 2)(7, 8)
    >>> reader(ctypes.addressof(words), [7, 8])() == bytes(words)
    True
    >>> read = reader(ctypes.addressof(words), [7, 9])
    >>> read() == read()
    False
    """
    memory = (ctypes.c_uint32 * len(expected)).from_address(address)
    return memoryview(memory).tobytes if list(memory) == list(expected) else object
