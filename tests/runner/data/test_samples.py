from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from seg_runner import SegDataSample, default_collate, pseudo_collate

Pair = namedtuple("Pair", "image label")


def test_pseudo_collate_leaves_tensors_apart():
    samples = [{"inputs": torch.ones(3, n, n), "data_samples": SegDataSample(), "name": f"{n}.png"} for n in (4, 5)]
    batch = pseudo_collate(samples)
    assert [tuple(image.shape) for image in batch["inputs"]] == [(3, 4, 4), (3, 5, 5)]
    assert batch["data_samples"] == [sample["data_samples"] for sample in samples]
    assert batch["name"] == ["4.png", "5.png"]


def test_pseudo_collate_transposes_tuples_and_keeps_named_ones():
    assert pseudo_collate([(1, 2), (3, 4)]) == [[1, 3], [2, 4]]
    assert pseudo_collate([Pair(1, 2), Pair(3, 4)]) == Pair([1, 3], [2, 4])


def test_default_collate_stacks_tensors_but_not_samples():
    samples = [{"inputs": torch.full((2, 2), n), "data_samples": SegDataSample(), "size": (n, n)} for n in (1, 2)]
    batch = default_collate(samples)
    assert batch["inputs"].shape == (2, 2, 2)
    assert isinstance(batch["data_samples"], list)
    assert torch.equal(batch["size"][0], torch.tensor([1, 2]))


@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_sequences_of_different_lengths_are_refused(collate):
    with pytest.raises(RuntimeError, match=r"lengths \[1, 2\]"):
        collate([[1], [1, 2]])
