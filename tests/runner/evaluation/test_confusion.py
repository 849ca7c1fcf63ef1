"""Confusion counts against a count by hand, for every integer type and any labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from seg_runner.evaluation.confusion import CHUNK, Confusion


def by_hand(pred: np.ndarray, true: np.ndarray, classes: int, ignore: int | None) -> np.ndarray:
    table = np.zeros((classes + 1, classes + 1), np.int64)
    for p, t in zip(pred.ravel().tolist(), true.ravel().tolist(), strict=True):
        if t != ignore:
            table[t if 0 <= t < classes else classes, p if 0 <= p < classes else classes] += 1
    return table


LABELS = arrays(np.int64, (3, 5), elements=st.one_of(st.integers(-3, 12), st.sampled_from([255, 256, 1000])))


@given(LABELS, LABELS, st.integers(1, 9), st.sampled_from([255, 256, 0, -1, 300, None]))
def test_counts_equal_a_count_by_hand(pred: np.ndarray, true: np.ndarray, classes: int, ignore: int | None) -> None:
    counts = Confusion(classes, ignore)
    counts.add(torch.from_numpy(pred), torch.from_numpy(true))
    assert (counts.matrix() == by_hand(pred, true, classes, ignore)).all()


@given(LABELS, LABELS, st.integers(1, 9), st.sampled_from([255, 0, -1, None]))
def test_the_form_for_accelerators_gives_the_same(
    pred: np.ndarray, true: np.ndarray, classes: int, ignore: int | None
) -> None:
    counts = Confusion(classes, ignore)
    counts._add_on_device(torch.from_numpy(pred), torch.from_numpy(true))
    assert (counts.matrix() == by_hand(pred, true, classes, ignore)).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("classes", [1, 19, 150, 256, 300])
def test_every_integer_type_and_many_classes(dtype: torch.dtype, classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    top = min(classes, 256 if dtype is torch.uint8 else classes)
    pred, true = (torch.randint(0, top, (40, 50), generator=generator).to(dtype) for _ in range(2))
    counts = Confusion(classes, 255)
    for _ in range(2):
        counts.add(pred, true)
    assert (counts.matrix() == 2 * by_hand(pred.numpy(), true.numpy(), classes, 255)).all()


def test_images_larger_than_one_chunk_and_mixed_types() -> None:
    pred = torch.zeros(CHUNK + 7, dtype=torch.uint8)
    true = torch.zeros(CHUNK + 7, dtype=torch.int64)
    true[-1] = 3
    counts = Confusion(2, 255)
    counts.add(pred, true)
    assert counts.matrix().tolist() == [[CHUNK + 6, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_counts_beyond_what_float32_can_tell() -> None:
    counts = Confusion(2, 255)
    counts.add(torch.zeros(3, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8))
    assert counts._pairs is not None
    counts._pairs[0] += 2**53
    counts.add(torch.zeros(1, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8))
    assert counts.matrix()[0, 0] == 2**53 + 4


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    counts = Confusion(19, 255)
    image = torch.zeros(8, 8, dtype=torch.uint8)
    counts.add(image, image)
    before = counts._pairs
    for _ in range(50):
        counts.add(image, image)
    assert counts._pairs is before


def test_masks_of_truth_values() -> None:
    counts = Confusion(2, 255)
    counts.add(torch.tensor([True, False]), torch.tensor([1, 1]))
    assert counts.matrix()[:2, :2].tolist() == [[0, 0], [1, 1]]


def test_255_is_left_out_by_default() -> None:
    counts = Confusion(2)
    counts.add(torch.tensor([0, 1, 1]), torch.tensor([255, 256, 1]))
    assert counts.matrix().tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_mistakes() -> None:
    with pytest.raises(TypeError, match="prediction holds"):
        Confusion(2).add(torch.zeros(2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="shape"):
        Confusion(2).add(torch.zeros(2, dtype=torch.long), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="num_classes"):
        Confusion(0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_counting_on_the_device_waits_for_nothing() -> None:
    pred, true = torch.zeros(64, 64, dtype=torch.long, device="cuda"), torch.ones(64, 64, dtype=torch.long).pin_memory()
    counts = Confusion(3, 255)
    counts.add(pred, true)
    torch.cuda.set_sync_debug_mode("error")
    counts.add(pred, true)
    torch.cuda.set_sync_debug_mode("default")
    assert counts.matrix()[1, 0] == 2 * 64 * 64
