"""Errors, outlines and confidence, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_vis import confidence_map, contours, error_map

RED, WHITE, DARK = [220, 20, 20], [255, 255, 255], [60, 60, 60]


def test_errors_are_red_right_is_white_unlabelled_is_dark() -> None:
    truth = np.array([[0, 1, 2], [255, 255, 0]])
    guess = np.array([[0, 2, 2], [0, 255, 1]])
    assert error_map(None, truth, guess, alpha=1).tolist() == [[WHITE, RED, WHITE], [DARK, DARK, RED]]
    assert error_map(None, truth, guess, alpha=1, ignore_index=None).tolist()[1] == [RED, WHITE, RED]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_errors_lie_over_a_grey_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    truth, guess = rng.integers(0, 3, (6, 7)), rng.integers(0, 3, (6, 7))
    drawn = error_map(image, truth, guess, alpha=0.5).astype(int)
    grey = np.rint(image @ [0.299, 0.587, 0.114])[..., None]
    colour = np.where((truth == guess)[..., None], WHITE, RED)
    assert np.abs(drawn - (grey + colour) / 2).max() <= 1.01


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="prediction is 2 x 2"):
        error_map(None, np.zeros((3, 3), int), np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="truth is 3 x 3"):
        error_map(np.zeros((2, 2)), np.zeros((3, 3), int), np.zeros((3, 3), int))
    with pytest.raises(ValueError, match="confidence is 3 x 3"):
        confidence_map(np.zeros((2, 2)), np.zeros((3, 3)))


def outline_by_hand(labels: np.ndarray) -> np.ndarray:
    """A pixel with a neighbour, above, below, left or right, of another label."""
    padded = np.pad(labels, 1, mode="edge")
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([side != labels for side in sides], axis=0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9))
def test_outlines_lie_where_labels_change(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (height, width))
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    palette = rng.integers(0, 256, (3, 3), dtype=np.uint8)
    drawn = contours(image, labels, palette=palette, thickness=1)
    expected = np.where(outline_by_hand(labels)[..., None], palette[labels], image)
    assert np.array_equal(drawn, expected)


def test_outlines_have_the_asked_width_and_stay_inside() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1
    drawn = contours(np.zeros((40, 40)), labels, palette=[[0, 0, 0], [9, 9, 9]], thickness=3, only=[1])[..., 0]
    assert drawn[20].nonzero()[0].tolist() == [10, 11, 12, 27, 28, 29]
    assert drawn[:, 20].nonzero()[0].tolist() == [10, 11, 12, 27, 28, 29]


def test_ignored_and_strange_labels_have_no_outline() -> None:
    labels = np.array([[0, 0, 255, 255], [0, 0, 7, -1]])
    with pytest.warns(UserWarning, match="labels -1, 7 lie beyond a palette of 1 colours"):
        drawn = contours(np.full((2, 4), 50), labels, palette=[[9, 9, 9]], thickness=1)[..., 0]
    assert drawn.tolist() == [[50, 9, 50, 50], [50, 9, 50, 50]]
    with pytest.raises(ValueError, match="thickness must be 1"):
        contours(np.zeros((2, 2)), np.zeros((2, 2), int), palette="cityscapes", thickness=0)
    with pytest.raises(TypeError, match="thickness must be a whole number"):
        contours(np.zeros((2, 2)), np.zeros((2, 2), int), palette="cityscapes", thickness=1.5)  # type: ignore[arg-type]


def test_confidence_grows_from_violet_to_yellow() -> None:
    drawn = confidence_map(np.zeros((1, 3)), [[0.0, 0.5, 1.0]], alpha=1)[0].tolist()
    assert drawn == [[68, 1, 84], [33, 145, 140], [253, 231, 37]]
    half = confidence_map(np.full((1, 1), 100), np.ones((1, 1, 1)), alpha=0.5)[0, 0].tolist()
    assert half == [176, 166, 68]
    assert confidence_map(np.zeros((3, 2)), np.ones((1, 3, 2)), alpha=1)[2, 1].tolist() == [253, 231, 37]


@pytest.mark.parametrize("wrong", [1.5, -0.1])
def test_one_value_that_is_no_confidence_is_enough(wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        confidence_map(np.zeros((1, 3)), np.array([[0.2, wrong, 0.9]]))


@pytest.mark.parametrize(
    ("confidence", "words"),
    [([[1.5]], "between 0 and 1"), ([[-0.1]], "take the softmax"), ([[np.nan]], "NaN"), ([0.5], "H x W")],
)
def test_what_is_no_confidence_is_refused(confidence: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        confidence_map(np.zeros((1, 1)), np.array(confidence))
