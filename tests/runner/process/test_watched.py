"""Whether somebody drew from a global generator: told at once, and where the state cannot be read, never denied."""

import ctypes
import random

import numpy as np
import pytest
from seg_runner.process.randomness import global_state, set_global_state
from seg_runner.process.watched import Watched, numpy_state, python_state, reader, seed_numpy, watched

DRAWS = {
    "python": [random.random, lambda: random.gauss(0, 1), lambda: random.sample(range(9), 2), lambda: random.seed(3)],
    "numpy": [
        np.random.rand,
        np.random.randn,
        lambda: np.random.rand(312),  # uses all 624 words: the count of words is the same as before
        lambda: np.random.bytes(2496),
        lambda: np.random.shuffle([1, 2]),
        lambda: np.random.seed(3),
    ],
}


@pytest.mark.parametrize("kind", DRAWS)
def test_every_way_to_draw_is_noticed(kind):
    place = list(DRAWS).index(kind)
    for draw in DRAWS[kind]:
        for generator in watched():
            generator.seed(11)
        assert not watched()[place].moved()
        draw()
        assert watched()[place].moved()
        assert not watched()[1 - place].moved()


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
def test_it_is_the_usual_seeding(seed):
    random.gauss(0, 1), np.random.randn()  # each keeps a second number, which a seed forgets
    for generator in watched():
        generator.seed(seed)
    found = random.gauss(0, 1), np.random.randn(), random.random(), np.random.rand()
    random.seed(seed), np.random.seed(seed & 0xFFFFFFFF)
    assert found == (random.gauss(0, 1), np.random.randn(), random.random(), np.random.rand())


def test_a_state_that_was_put_back_is_the_same_state():
    for generator in watched():
        generator.seed(1)
    before = global_state()
    random.random(), np.random.rand()
    set_global_state(before)
    assert [generator.moved() for generator in watched()] == [False, False]


def test_where_the_words_are_others_the_state_counts_as_changed():
    words = (ctypes.c_uint32 * 3)(1, 2, 3)
    read = reader(ctypes.addressof(words), [1, 2, 4])
    generator = Watched(lambda seed: None, read)
    generator.seed(1)
    assert generator.moved()


def test_another_build_of_python_is_not_read(monkeypatch):
    monkeypatch.setattr(random, "getstate", lambda: (3, (0,) * 625, None))  # not what lies there
    read = python_state()
    assert read() != read()


def test_an_exchanged_bit_generator_counts_as_changed():
    read, before = numpy_state(), np.random.get_bit_generator()
    generator = Watched(seed_numpy, read)
    try:
        np.random.set_bit_generator(np.random.MT19937(5))
        generator.seed(1)
        assert generator.moved()
        np.random.set_bit_generator(np.random.PCG64(5))
        assert numpy_state()() != numpy_state()()
    finally:
        np.random.set_bit_generator(before)
    generator.seed(1)
    assert not generator.moved()
