from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_runner.data.seeds import derive_seed, seed_generators, seed_step
from seg_runner.process.randomness import (
    Randomness,
    find_generators,
    global_state,
    reseed,
    resolve_randomness,
    seed_everything,
    set_global_state,
)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


@pytest.fixture(autouse=True)
def _keep_global_state():
    state = global_state()
    yield
    set_global_state(state)


def test_a_seed_is_drawn_when_none_is_given():
    first, second = resolve_randomness(None), resolve_randomness({"seed": None})
    assert not first.chosen
    assert 0 <= first.seed < 2**31
    assert first.seed != second.seed
    assert first.by_sample


def test_the_reference_keys_are_taken():
    found = resolve_randomness({"seed": 7, "diff_rank_seed": True, "deterministic": False, "stream": "mmengine"})
    assert found == Randomness(7, True, False, "mmengine", True)
    assert resolve_randomness(found) is found


@pytest.mark.parametrize(
    ("cfg", "error", "words"),
    [
        ({"sead": 1}, TypeError, "sead"),
        ({"seed": "1"}, TypeError, "integer"),
        ({"seed": True}, TypeError, "integer"),
        ({"seed": -1}, ValueError, "2\\*\\*32"),
        ({"seed": 1, "stream": "torch"}, ValueError, "'sample', 'mmengine', 'onedl'"),
    ],
)
def test_wrong_settings_say_what_is_wanted(cfg, error, words):
    with pytest.raises(error, match=words):
        resolve_randomness(cfg)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=4), st.lists(st.integers(0, 2**40), min_size=1, max_size=4))
def test_derived_seeds_differ_where_their_parts_do(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)
    assert 0 <= derive_seed(*one) < 2**64


def test_steps_know_no_history():
    run = Randomness(seed=3)
    seed_step(run, 5)
    first = draw()
    draw()
    seed_step(run, 5)
    assert draw() == first
    seed_step(run, 6)
    assert draw() != first
    seed_step(run, 5, rank=1)
    assert draw() != first


def test_the_reference_stream_is_left_alone():
    seed_generators(1)
    before = draw()
    seed_generators(1)
    seed_step(Randomness(seed=3, stream="mmengine"), 5)
    assert draw() == before


def test_ranks_start_apart_only_when_asked():
    seed_everything(Randomness(seed=4), rank=1)
    same = draw()
    seed_everything(Randomness(seed=4), rank=0)
    assert draw() == same
    seed_everything(Randomness(seed=4, diff_rank_seed=True), rank=1)
    assert draw() != same


def test_generators_inside_an_object_are_found_and_seeded():
    class Crop:
        def __init__(self):
            self.random = random.Random(1)

    class Data:
        def __init__(self):
            self.rng = np.random.default_rng(2)
            self.old = np.random.RandomState(3)
            self.transforms = [Crop(), {"torch": torch.Generator()}]
            self.images = list(range(10_000))
            self.me = self

    found = find_generators(Data())
    assert set(found) == {"rng", "old", "transforms[0].random", "transforms[1]['torch']"}
    for generator in found.values():
        reseed(generator, 9)
    again = find_generators(Data())
    for generator in again.values():
        reseed(generator, 9)
    assert found["rng"].random() == again["rng"].random()
    assert found["old"].rand() == again["old"].rand()
    assert found["transforms[0].random"].random() == again["transforms[0].random"].random()
    one, other = (f["transforms[1]['torch']"] for f in (found, again))
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=other))


def test_global_state_comes_back():
    state = global_state()
    first = draw()
    set_global_state(state)
    assert draw() == first
