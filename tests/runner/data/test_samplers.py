from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_runner import ClassBalancedSampler, DefaultSampler, InfiniteSampler
from seg_runner.data.samplers import padded, repeat_factors


def reference_order(size: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator()
    generator.manual_seed(seed + epoch)
    return torch.randperm(size, generator=generator).tolist()


def test_default_sampler_permutes_by_seed_and_epoch():
    sampler = DefaultSampler(range(11), seed=3)
    assert list(sampler) == reference_order(11, 3, 0)
    sampler.set_epoch(2)
    assert list(sampler) == reference_order(11, 3, 2)


@given(st.integers(1, 40), st.integers(1, 5), st.booleans(), st.integers(0, 3))
def test_default_sampler_deals_every_sample_out(size, ranks, round_up, epoch):
    samplers = [DefaultSampler(range(size), seed=1, round_up=round_up, rank=r, world_size=ranks) for r in range(ranks)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    dealt = [list(sampler) for sampler in samplers]
    assert [len(part) for part in dealt] == [len(sampler) for sampler in samplers]
    assert set().union(*dealt) == set(range(size))
    if round_up:
        assert len({len(part) for part in dealt}) == 1
    else:
        assert sorted(index for part in dealt for index in part) == list(range(size))


def test_the_first_pass_without_options_is_the_references():
    assert list(DefaultSampler(range(50))) == reference_order(50, 0, 0)
    assert list(islice(InfiniteSampler(range(50)), 50)) == reference_order(50, 0, 0)
    assert InfiniteSampler(range(50)).order(3, 2).tolist() == reference_order(50, 3, 2)
    assert len(DefaultSampler(range(5), rank=1, world_size=2)) == 3
    balanced = ClassBalancedSampler(range(50), presence=np.ones((50, 1)))
    assert list(balanced) == balanced.order(0, 0).tolist() != list(range(50))
    balanced.set_epoch(1)
    assert list(balanced) == balanced.order(0, 1).tolist() != balanced.order(0, 0).tolist()


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_data_set_without_samples_gives_none(shuffle):
    assert list(DefaultSampler([], shuffle)) == list(InfiniteSampler([], shuffle)) == []
    balanced = ClassBalancedSampler([], presence=np.ones((0, 2)), shuffle=shuffle)
    assert list(balanced) == []
    assert len(balanced) == 0


@pytest.mark.parametrize("sampler", [DefaultSampler, InfiniteSampler])
def test_a_rank_outside_the_world_is_refused(sampler):
    for rank in (-1, 2):
        with pytest.raises(ValueError, match=rf"rank must be one of 0 ... world_size - 1, that is 1, not {rank}"):
            sampler(range(4), rank=rank, world_size=2)
    with pytest.raises(ValueError, match="world_size"):
        sampler(range(4), rank=0, world_size=0)
    with pytest.raises(TypeError, match="has none: leave the sampler out"):
        sampler(iter("ab"))


def test_default_sampler_without_shuffling():
    assert list(DefaultSampler(range(5), shuffle=False, rank=0, world_size=2)) == [0, 2, 4]
    assert list(DefaultSampler(range(5), shuffle=False, round_up=False, rank=1, world_size=2)) == [1, 3]


@given(st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_infinite_sampler_deals_one_stream_out(size, ranks, shuffle):
    whole = list(islice(InfiniteSampler(range(size), shuffle, seed=2), 30 * ranks))
    for rank in range(ranks):
        part = InfiniteSampler(range(size), shuffle, seed=2, rank=rank, world_size=ranks)
        assert list(islice(part, 30)) == whole[rank::ranks]


def test_infinite_sampler_goes_on_where_it_stopped_and_has_the_length_of_the_data():
    sampler = InfiniteSampler(range(6), seed=0)
    first = list(islice(iter(sampler), 4))
    second = list(islice(iter(sampler), 2))
    assert sorted(first + second) == list(range(6))
    assert len(sampler) == 6
    sampler.set_epoch(3)
    assert [kind.endless for kind in (InfiniteSampler, DefaultSampler, ClassBalancedSampler)] == [True, False, False]


@given(st.integers(1, 30), st.integers(1, 7))
def test_padding_repeats_from_the_start(size, multiple):
    indices = np.arange(size)
    result = padded(indices, multiple)
    assert len(result) % multiple == 0
    assert len(result) - size < multiple
    assert result.tolist() == [i % size for i in range(len(result))]


def test_rare_classes_are_shown_more_often():
    presence = np.zeros((100, 3), dtype=bool)
    presence[:, 0] = True
    presence[:4, 1] = True
    factors = repeat_factors(presence, threshold=0.16)
    assert factors[:4].tolist() == [2.0] * 4
    assert (factors[4:] == 1).all()
    sampler = ClassBalancedSampler(range(100), threshold=0.16, presence=presence, seed=1)
    assert len(sampler) == 104
    order = sampler.order(1, 0)
    assert np.bincount(order)[:4].tolist() == [2] * 4
    assert sorted(set(order.tolist())) == list(range(100))
    assert sampler.order(1, 0).tolist() == order.tolist()
    assert sampler.order(1, 1).tolist() != order.tolist()


def test_the_rarest_class_of_an_image_decides_and_one_that_never_occurs_does_not():
    presence = np.zeros((16, 4), dtype=int)
    presence[:, 0] = 1
    presence[:4, 1] = 1
    presence[0, 3] = 1
    assert repeat_factors(presence, 1.0).tolist() == [4.0, 2.0, 2.0, 2.0, *[1.0] * 12]
    assert repeat_factors(presence, 0.25).tolist() == [2.0, *[1.0] * 15]


def test_factors_between_two_numbers_are_met_on_average():
    presence = np.zeros((1000, 1), dtype=bool)
    presence[:160] = True
    sampler = ClassBalancedSampler(range(1000), threshold=0.36, presence=presence)
    shown = [np.bincount(sampler.order(0, epoch), minlength=1000)[:160].sum() for epoch in range(20)]
    assert 1.4 < np.mean(shown) / 160 < 1.6


def test_presence_can_come_from_the_data_set():
    class Data:
        def __len__(self):
            return 4

        def get_cat_ids(self, index):
            return [0, 1] if index == 2 else [0]

    sampler = ClassBalancedSampler(Data(), threshold=1.0, shuffle=False)
    assert list(sampler) == [0, 1, 2, 2, 3]


@given(st.integers(1, 60), st.integers(1, 5), st.floats(0.05, 1), st.integers(1, 4), st.integers(0, 3))
def test_passes_of_balanced_classes_end_and_are_equally_long(size, classes, threshold, ranks, epoch):
    presence = np.random.default_rng(size).random((size, classes)) < 0.3
    given = {"threshold": threshold, "presence": presence, "seed": 3, "world_size": ranks}
    samplers = [ClassBalancedSampler(range(size), rank=rank, **given) for rank in range(ranks)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    dealt = [list(sampler) for sampler in samplers]
    assert [len(part) for part in dealt] == [len(sampler) for sampler in samplers]
    assert set().union(*dealt) == set(range(size))
    order = samplers[0].order(3, epoch)
    assert len(order) == samplers[0].size <= samplers[0].factors.sum() + 1e-4
    times = np.bincount(order, minlength=size)
    assert (np.floor(samplers[0].factors) <= times).all()
    assert (times <= np.floor(samplers[0].factors) + 1).all()


def test_class_balance_refuses_what_it_cannot_use():
    with pytest.raises(TypeError, match="get_cat_ids"):
        ClassBalancedSampler([1, 2])
    with pytest.raises(ValueError, match=r"expected \(2, classes\)"):
        ClassBalancedSampler([1, 2], presence=np.ones((3, 1)))
    with pytest.raises(ValueError, match="threshold"):
        ClassBalancedSampler([1, 2], threshold=0, presence=np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"threshold.* at most 1"):
        ClassBalancedSampler([1, 2], threshold=1.01, presence=np.ones((2, 1)))
