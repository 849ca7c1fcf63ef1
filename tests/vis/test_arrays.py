"""Images and label maps in every form that people bring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from seg_vis import to_rgb
from seg_vis.arrays import as_labels, check_same_size, to_numpy

PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(PICTURES)
def test_rgb_bytes_come_back_as_they_are(image: np.ndarray) -> None:
    assert np.array_equal(to_rgb(image), image)


@given(PICTURES)
def test_bgr_is_turned_round(image: np.ndarray) -> None:
    assert np.array_equal(to_rgb(image, order="bgr"), image[..., ::-1])


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (5, 7, 5), (5, 7, 13)])
def test_every_number_of_channels_gives_three(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rgb = to_rgb(image)
    assert rgb.shape == (5, 7, 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    wide = image if image.ndim == 3 else image[..., None]
    expected = wide[..., :3] if wide.shape[2] >= 3 else wide[..., [0, 0, 0]]
    assert np.array_equal(rgb, expected)


def test_non_contiguous_arrays_are_taken() -> None:
    image = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)
    assert np.array_equal(to_rgb(image[::-2, ::2]), image[::-2, ::2])


def test_channels_first_is_seen_in_images() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8)
    assert np.array_equal(to_rgb(image), image.transpose(1, 2, 0))
    assert np.array_equal(to_rgb(image[:, :4, :5], layout="chw"), image[:, :4, :5].transpose(1, 2, 0))
    assert to_rgb(np.zeros((4, 5, 12), np.uint8)).shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (65535, np.uint16, 255),
        (257 * 100, np.uint16, 100),
        (1.0, np.float32, 255),
        (0.5, np.float64, 128),
        (0.25, np.float16, 64),
        (200, np.int64, 200),
        (True, np.bool_, 255),
    ],
)
def test_values_are_scaled_by_type_and_range(value: float, dtype: type, expected: int) -> None:
    assert (to_rgb(np.full((2, 3, 3), value, dtype)) == expected).all()


def test_floats_beyond_one_are_taken_as_bytes() -> None:
    assert to_rgb(np.array([[0.0, 99.6, 255.0]]))[0, :, 0].tolist() == [0, 100, 255]


def test_everything_else_is_stretched_between_percentiles() -> None:
    values = np.linspace(-3, 3, 101).reshape(1, 101)
    rgb = to_rgb(values)[0, :, 0]
    assert rgb[:3].tolist() == [0, 0, 0]
    assert rgb[98:].tolist() == [255, 255, 255]
    assert rgb[50] in (127, 128)
    assert (np.diff(rgb.astype(int)) >= 0).all()


def test_stretch_is_exact() -> None:
    image = np.arange(101, dtype=np.uint16).reshape(1, 101) * 10
    rgb = to_rgb(image, stretch=(0, 100))[0, :, 0]
    assert rgb.tolist() == np.rint(np.arange(101) / 100 * 255).astype(int).tolist()
    assert (to_rgb(np.full((3, 3), 7), stretch=(2, 98)) == 0).all()


def test_bands_are_chosen() -> None:
    image = np.arange(12, dtype=np.uint8) * np.ones((4, 5, 1), np.uint8)
    assert to_rgb(image, bands=(7, 3, 2))[0, 0].tolist() == [7, 3, 2]
    assert to_rgb(image, bands=[11])[0, 0].tolist() == [11, 11, 11]
    with pytest.raises(ValueError, match=r"out of 0 \.\.\. 11, got \(12, 0, 1\)"):
        to_rgb(image, bands=(12, 0, 1))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((0, 4, 3)), "empty"),
        (np.zeros((2, 2, 2, 2)), "H x W"),
        (np.array([[1.0, np.nan], [0.0, np.inf]]), "2 NaN or infinite values of 4, the first at index"),
    ],
)
def test_bad_images_are_refused(image: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_rgb(image)


def test_bad_words_are_refused() -> None:
    with pytest.raises(ValueError, match="order must be"):
        to_rgb(np.zeros((2, 2)), order="gbr")
    with pytest.raises(ValueError, match="layout must be"):
        to_rgb(np.zeros((2, 2)), layout="whc")
    with pytest.raises(TypeError, match="read the file first, with cv2"):
        to_rgb("street.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (2, 3, 1)])
def test_labels_become_a_plane(dtype: type, shape: tuple[int, ...]) -> None:
    plane = as_labels(np.ones(shape, dtype))
    assert plane.shape == (2, 3)
    assert plane.dtype.kind in "ui"
    assert (plane == 1).all()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((0, 3)), "empty"),
        (np.zeros((2, 2, 3)), r"H x W or 1 x H x W, got shape \(2, 2, 3\)"),
        (np.array([[0.5]]), "no whole numbers: take argmax first"),
        (np.array([[np.nan]]), "NaN"),
    ],
)
def test_bad_labels_are_refused(labels: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        as_labels(labels)


def test_sizes_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match="labels is 3 x 2 and the image 2 x 3"):
        check_same_size(np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_tensors_are_taken_from_any_device() -> None:
    torch = pytest.importorskip("torch")
    image = torch.randint(0, 256, (3, 6, 7), dtype=torch.uint8)
    assert np.array_equal(to_rgb(image), image.numpy().transpose(1, 2, 0))
    assert to_rgb(torch.zeros(12, 6, 7)).shape == (6, 7, 3)
    assert to_rgb(torch.zeros(6, 7, 3, requires_grad=True)).shape == (6, 7, 3)
    assert to_numpy(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1, 1]
    assert as_labels(torch.ones(1, 2, 3, dtype=torch.int64)).shape == (2, 3)


def test_a_tensor_is_known_by_its_shape_alone() -> None:
    class Elsewhere:
        """A tensor of some library on some device."""

        dtype = "int64"
        shape = (1, 2, 2)

        def detach(self) -> Elsewhere:
            return self

        def cpu(self) -> Elsewhere:
            return self

        def numpy(self) -> np.ndarray:
            return np.arange(4).reshape(1, 2, 2)

    assert as_labels(Elsewhere()).tolist() == [[0, 1], [2, 3]]
