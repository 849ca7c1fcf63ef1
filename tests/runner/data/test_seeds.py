"""The numbers of samples are as if every generator were seeded for each; who draws from one is noticed."""

import copy
import ctypes
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_runner.data import seeds as module
from seg_runner.data.order import Position
from seg_runner.data.samples import SeededDataset
from seg_runner.data.seeds import (
    SampleSeeds,
    Watched,
    derive_seed,
    numpy_state,
    python_state,
    reader,
    seed_generators,
    seed_numpy,
    seed_step,
    watched,
)
from seg_runner.data.stream import TrainBatches
from seg_runner.process.randomness import Randomness, global_state, set_global_state
from torch.utils.data import DataLoader, Dataset

DRAWS = {
    "python": random.random,
    "python's pair": lambda: random.gauss(0, 1),
    "numpy": np.random.rand,
    "numpy's pair": np.random.randn,
    "a whole state": lambda: np.random.rand(312).sum(),
    "torch": lambda: torch.rand(()).item(),
    "torch's seed": torch.initial_seed,
}


class Drawing(Dataset):
    """Sample i draws as the plan says; one that fails does so after drawing."""

    def __init__(self, plan):
        self.plan, self.reads = plan, []

    def __len__(self):
        return len(self.plan)

    def __getitem__(self, index):
        self.reads.append(index)
        found = [DRAWS[name]() for name in self.plan[index] if name != "fails"]
        if "fails" in self.plan[index]:
            raise ValueError(found)
        return found


def read(dataset, key):
    try:
        return dataset[key]
    except ValueError as error:
        return str(error)


def eagerly(dataset, keys):
    """What a loop reads that seeds everything each time."""
    found = []
    for epoch, index, repeat in keys:
        seed_generators(7, epoch, index, *([repeat] if repeat else []))
        found.append(read(dataset, index))
    return found


plans = st.lists(st.lists(st.sampled_from([*DRAWS, "fails"]), max_size=3), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(plan=plans, tried=st.integers(0, 6), steps=st.booleans(), data=st.data())
def test_numbers_are_as_if_all_were_seeded_always(plan, tried, steps, data):
    index = st.tuples(st.integers(0, 2), st.integers(0, len(plan) - 1), st.integers(0, 1))
    keys = data.draw(st.lists(index, max_size=20))
    lazy = SeededDataset(Drawing(plan), 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TRIED", tried)
        found = []
        for number, key in enumerate(keys):
            if steps:  # of a main process without workers: a model may draw from any generator
                seed_step(Randomness(7), number)
                for name in list(DRAWS)[: number % len(DRAWS)]:
                    DRAWS[name]()
            found.append(read(lazy, key))
    assert found == eagerly(Drawing(plan), keys)


LATE = [["torch"]] * 6 + [["python's pair"], ["torch"], ["numpy"], ["torch"], ["python", "numpy"], []] * 2


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_number_of_workers_and_a_resume_change_nothing(workers, monkeypatch):
    monkeypatch.setattr(module, "TRIED", 4)  # forked workers have it, too

    def stream():
        loader = DataLoader(Drawing(LATE), batch_size=3, num_workers=workers, collate_fn=list, shuffle=True)
        return TrainBatches(loader, Randomness(seed=7))

    whole, resumed = stream(), stream()
    batches = [next(whole) for _ in range(12)]  # two passes of 18 samples
    order = stream().source._order
    keys = [key for epoch in (0, 1) for batch, _ in order.batches(Position(epoch)) for key in batch]
    assert [sample for batch in batches for sample in batch] == eagerly(Drawing(LATE), keys)
    resumed.seek(5)
    assert [next(resumed) for _ in range(7)] == batches[5:]
    whole.close(), resumed.close()


def counted(monkeypatch):
    """How often each of the two generators is seeded."""
    counts = [0, 0]

    def counting(place, before):
        def seed(seed):
            counts[place] += 1
            before(seed)

        return seed

    for place, generator in enumerate(watched()):
        monkeypatch.setattr(generator, "_seed", counting(place, generator._seed))
    return counts


def test_what_no_sample_draws_from_is_not_seeded(monkeypatch):
    monkeypatch.setattr(module, "TRIED", 5)
    plan = [["torch"]] * 40
    dataset, counts = Drawing(plan), counted(monkeypatch)
    lazy = SeededDataset(dataset, 7)
    for index in range(40):
        lazy[0, index, 0]
    assert counts == [5, 5]
    assert dataset.reads == list(range(40))  # none was read again


def test_a_generator_is_seeded_for_every_sample_once_one_drew_from_it(monkeypatch):
    monkeypatch.setattr(module, "TRIED", 5)
    dataset, counts = Drawing([["torch"]] * 10 + [["numpy"]] + [["torch"]] * 9), counted(monkeypatch)
    lazy = SeededDataset(dataset, 7)
    for index in range(20):
        lazy[0, index, 0]
    assert counts == [5, 5 + 10]
    assert dataset.reads == [*range(10), 10, *range(10, 20)]  # the one that drew first, twice


def test_nothing_is_read_again_that_drew_early(monkeypatch):
    dataset = Drawing([["python", "numpy"]] + [["torch"]] * 9 + [["numpy"]])
    lazy = SeededDataset(dataset, 7)
    for index in range(11):
        lazy[0, index, 0]
    assert dataset.reads == list(range(11))


def test_a_step_that_draws_between_samples_makes_nobody_read_again(monkeypatch):
    monkeypatch.setattr(module, "TRIED", 2)
    dataset = Drawing([["torch"]] * 10)
    lazy = SeededDataset(dataset, 7)
    for index in range(10):
        lazy[0, index, 0]
        random.random(), np.random.randn()
    assert dataset.reads == list(range(10))


def test_where_no_state_can_be_read_all_is_seeded(monkeypatch):
    monkeypatch.setattr(module, "TRIED", 2)
    for generator in watched():
        monkeypatch.setattr(generator, "_state", object)
    dataset, counts = Drawing([["torch"]] * 6 + [["numpy"]]), counted(monkeypatch)
    lazy = SeededDataset(dataset, 7)
    for index in range(7):
        lazy[0, index, 0]
    assert counts == [7, 7]
    assert dataset.reads == list(range(7))


def test_a_data_sets_own_generator_is_always_seeded(monkeypatch):
    monkeypatch.setattr(module, "TRIED", 0)

    class Keeping(Dataset):
        rng = None

        def __init__(self):
            self.rng = random.Random(0)

        def __getitem__(self, index):
            return self.rng.random()

    lazy = SeededDataset(Keeping(), 7)
    assert lazy[0, 1, 0] == lazy[0, 1, 0] != lazy[0, 2, 0]


def test_a_failing_sample_names_itself_once():
    lazy = SeededDataset(Drawing([["python", "fails"]]), 7)
    with pytest.raises(ValueError, match=r"\[0") as caught:
        lazy[0, 0, 0]
    assert caught.value.__notes__ == ["while reading sample 0 of Drawing in pass 0"]


def test_a_copy_goes_on_by_itself():
    seeds = SampleSeeds()
    seeds.begin(3)
    random.random()
    assert seeds.fits()
    assert copy.deepcopy(seeds)._drawn == [True, False]


def test_the_seed_of_a_step_is_what_it_was():
    """Fixed by hand: a run that is resumed with a newer version draws the same numbers."""
    assert derive_seed("step", 0, 5, 0) == 10977402732025230509
    assert derive_seed(7, 0, 3) != derive_seed(7, 0, 3, 1)


WAYS = {
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


@pytest.mark.parametrize("kind", WAYS)
def test_every_way_to_draw_is_noticed(kind):
    place = list(WAYS).index(kind)
    for draw in WAYS[kind]:
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
