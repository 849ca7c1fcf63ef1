"""`legacy_blend=True`: MMSegmentation's picture, against its definition written out slowly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_vis import SegLocalVisualizer, get_classes, get_palette


def reference(image: np.ndarray, labels: np.ndarray, palette: list[list[int]], alpha: float) -> np.ndarray:
    """Without names: black ground, palette by Python's indexing, float64 blend, cut."""
    out = np.zeros_like(image)
    for y, x in np.ndindex(labels.shape):
        label = int(labels[y, x])
        colour = palette[label] if label < len(palette) else [0, 0, 0]
        for c in range(3):
            out[y, x, c] = int(float(image[y, x, c]) * (1 - alpha) + colour[c] * alpha)
    return out


def drawn(image: np.ndarray, labels: np.ndarray, alpha: float = 0.8, names: bool = False) -> np.ndarray:
    visualizer = SegLocalVisualizer(alpha=alpha, legacy_blend=True, dataset_name="cityscapes")
    visualizer.add_datasample("x", image, {"pred_sem_seg": labels}, with_labels=names)
    return visualizer.get_image()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_every_pixel_is_the_references(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    image, labels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), rng.integers(-19, 30, (5, 6))
    palette = get_palette("cityscapes").tolist()
    assert np.array_equal(drawn(image, labels, alpha), reference(image, labels, palette, alpha))


def test_the_measured_pixels() -> None:
    """100 under an ignored label gives 19 and not 20: 1 - 0.8 is 0.19999999999999996."""
    assert drawn(np.full((1, 1, 3), 100, np.uint8), np.full((1, 1), 255))[0, 0].tolist() == [19, 19, 19]


def test_names_are_drawn_under_the_blend_where_the_reference_puts_them() -> None:
    image = np.full((400, 500, 3), 200, np.uint8)
    labels = np.full((400, 500), 3)
    labels[100:300, 250:] = 7
    mask = np.zeros_like(image)
    palette, classes = get_palette("cityscapes"), get_classes("cityscapes")
    for label in (7, 3):
        mask[labels == label] = palette[label]
    for label, (x, y) in {7: (375, 100), 3: (250, 0)}.items():
        (width, height), below = cv2.getTextSize(classes[label], cv2.FONT_HERSHEY_SIMPLEX, 0.8, 2)
        corners = (x, y), (x + width + below, y + height + below)
        cv2.rectangle(mask, *corners, palette[label].tolist(), -1)
        cv2.rectangle(mask, *corners, (0, 0, 0), 2)
        cv2.putText(mask, classes[label], (x, y + height), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, 2)
    expected = (image * (1 - 0.8) + mask * 0.8).astype(np.uint8)
    assert np.array_equal(drawn(image, labels, names=True), expected)


@pytest.mark.parametrize("size", [(299, 400), (400, 299), (300, 300)])
def test_small_pictures_have_thin_letters(size: tuple[int, int]) -> None:
    picture = drawn(np.zeros((*size, 3), np.uint8), np.zeros(size, int), names=True)
    assert picture.shape == (*size, 3)
