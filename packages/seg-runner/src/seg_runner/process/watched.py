"""The global generators of python and numpy, of which it can be told whether somebody drew since they were seeded.

To seed one costs 2 to 7 microseconds, and several times that where its 2.5 kB lie in no cache; to compare its state
with that after the seeding costs 0.1. No function tells the state so cheaply: it is read where it lies in memory, after
a check that it does lie there. Where the check fails (another build of python), the state counts as changed, always.
"""

from __future__ import annotations

import ctypes
import functools
import random
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["Watched", "watched"]

WORDS = 624
"""Both are a Mersenne Twister: 624 words of 32 bits, and one more that counts how many of them were used."""


class Watched:
    """One global generator.

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
