"""The front door, pixel by pixel against the definition."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_vis import get_palette, overlay, to_rgb
from seg_vis.drawing.blend import blend_and_look, byte_values, few_codes


def golden(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray, alpha: float, ignore_index: int | None = 255
) -> np.ndarray:
    """The definition, one pixel after another."""
    out = image.copy()
    for y, x in np.ndindex(labels.shape):
        label = int(labels[y, x])
        if 0 <= label < len(palette) and label != ignore_index:
            out[y, x] = np.rint((1 - alpha) * image[y, x].astype(float) + alpha * palette[label].astype(float))
    return out


def scene(seed: int, height: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (height, width), dtype=np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, labels, rng.integers(0, 256, (classes, 3), dtype=np.uint8)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 255),
    st.sampled_from([0, 0.25, 0.5, 0.6, 0.8, 1]),
)
def test_every_pixel_is_as_defined(seed: int, height: int, width: int, classes: int, alpha: float) -> None:
    image, labels, palette = scene(seed, height, width, classes)
    drawn = overlay(image, labels, palette=palette, alpha=alpha)
    assert drawn.shape == image.shape
    assert np.array_equal(drawn, golden(image, labels, palette, alpha))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_at_any_alpha_no_value_is_more_than_one_off(seed: int, alpha: float) -> None:
    image, labels, palette = scene(seed, 20, 20, 19)
    difference = overlay(image, labels, palette=palette, alpha=alpha) - golden(image, labels, palette, alpha).astype(
        int
    )
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(300, 700), (1, 300, 700)])
def test_every_type_of_labels_gives_the_same_picture(dtype: type, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 19, (300, 700))
    image = rng.integers(0, 256, (300, 700, 3), dtype=np.uint8)
    palette = get_palette("cityscapes")
    expected = np.rint(image * 0.5 + palette[labels] * 0.5).astype(np.uint8)
    assert np.array_equal(overlay(image, labels.astype(dtype).reshape(shape), palette="cityscapes"), expected)


@pytest.mark.parametrize("channels", [None, 1, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_every_kind_of_image(channels: int | None, dtype: type) -> None:
    rng = np.random.default_rng(2)
    values = rng.random((9, 8) if channels is None else (9, 8, channels))
    image = values.astype(dtype) if np.issubdtype(dtype, np.floating) else (values * np.iinfo(dtype).max).astype(dtype)
    labels, palette = rng.integers(0, 5, (9, 8)), get_palette("distinct", 5)
    expected = golden(to_rgb(image), labels, palette, 0.5)
    assert np.array_equal(overlay(image, labels, palette=palette), expected)


def test_views_are_taken_and_left_alone() -> None:
    image, labels, palette = scene(3, 40, 60, 7)
    before = image.copy(), labels.copy()
    drawn = overlay(image[::-2, ::3], labels[::-2, ::3], palette=palette)
    assert np.array_equal(drawn, golden(image[::-2, ::3], labels[::-2, ::3], palette, 0.5))
    assert np.array_equal(image, before[0])
    assert np.array_equal(labels, before[1])


def test_large_pictures_go_in_strips_that_do_not_show() -> None:
    image, labels, palette = scene(4, 513, 1025, 19)
    expected = np.where(
        (labels == 255)[..., None], image, np.rint(image * 0.2 + palette[np.where(labels == 255, 0, labels)] * 0.8)
    )
    assert np.abs(overlay(image, labels, palette=palette, alpha=0.8) - expected).max() == 0


def test_ignored_pixels_keep_the_image() -> None:
    image, labels, palette = scene(5, 10, 10, 4)
    assert np.array_equal(
        overlay(image, labels, palette=palette, ignore_index=2), golden(image, labels, palette, 0.5, 2)
    )
    everything = overlay(image, np.full((10, 10), 255), palette=palette)
    assert np.array_equal(everything, image)


def test_a_negative_ignore_index_is_fine() -> None:
    image, _, palette = scene(6, 4, 4, 3)
    labels = np.array([[-1, 0, 1, 2]] * 4)
    assert np.array_equal(
        overlay(image, labels, palette=palette, ignore_index=-1), golden(image, labels, palette, 0.5, -1)
    )


@pytest.mark.parametrize("stranger", [4, 100, 254, 256, 1000, -3, 2**40])
def test_labels_beyond_the_palette_are_reported_and_keep_the_image(stranger: int) -> None:
    image, _, palette = scene(7, 3, 3, 4)
    labels = np.array([[0, 1, 2], [3, stranger, 255], [0, 0, 0]])
    with pytest.warns(UserWarning, match=rf"labels {stranger} lie beyond a palette of 4 colours"):
        drawn = overlay(image, labels, palette=palette)
    assert np.array_equal(drawn, golden(image, labels, palette, 0.5))


@pytest.mark.parametrize(("strangers", "words"), [(5, "10, 11, 12, 13, 14 lie"), (6, "10, 11, 12, 13, 14, ... lie")])
def test_five_labels_beyond_the_palette_are_named_where_it_was_called(strangers: int, words: str) -> None:
    labels = np.arange(10, 10 + strangers)[None]
    with pytest.warns(UserWarning, match=re.escape(f"labels {words} beyond")) as told:
        overlay(np.zeros((*labels.shape, 3), np.uint8), labels, palette=get_palette("distinct", 4))
    assert told[0].filename == __file__


@pytest.mark.parametrize("stranger", [300, 301, -1, 1000])
def test_labels_beyond_a_long_palette_keep_the_image_too(stranger: int) -> None:
    image, palette = scene(7, 3, 3, 4)[0], np.random.default_rng(1).integers(0, 256, (300, 3), dtype=np.uint8)
    labels = np.array([[0, 1, 299], [3, stranger, 254], [0, 0, 0]])
    with pytest.warns(UserWarning, match=rf"labels {stranger} lie beyond a palette of 300 colours"):
        drawn = overlay(image, labels, palette=palette)
    assert np.array_equal(drawn, golden(image, labels, palette, 0.5))


@pytest.mark.parametrize("stranger", [9, 254, 300, -3])
def test_labels_beyond_the_palette_are_reported_where_only_some_are_painted(stranger: int) -> None:
    image, _, palette = scene(7, 1, 3, 4)
    with pytest.warns(UserWarning, match=f"labels {stranger} lie beyond a palette of 4 colours"):
        drawn = overlay(image, np.array([[1, 2, stranger]]), palette=palette, only=[1])
    assert np.array_equal(drawn, golden(image, np.array([[1, 255, 255]]), palette, 0.5))


def test_label_0_may_be_the_ignored_one() -> None:
    image, labels, palette = scene(5, 10, 10, 4)
    drawn = overlay(image, labels, palette=palette, ignore_index=0)
    assert np.array_equal(drawn, golden(image, labels, palette, 0.5, 0))


def test_whether_labels_are_strange_and_which_occur() -> None:
    image, codes = np.zeros((1, 4, 3), np.uint8), np.array([[0, 255, 3, 0]], np.uint8)
    palette = get_palette("distinct", 4)
    assert not blend_and_look(image, codes, palette, 0.5)[1]
    assert blend_and_look(image, codes, palette[:3], 0.5)[1]
    assert byte_values(codes).tolist() == [0, 3, 255]


def test_labels_of_a_long_palette_become_bytes_in_their_order() -> None:
    shown = np.ones(300, bool)
    shown[7] = False
    codes, stand_for = few_codes(np.array([[299, 0, 7], [-1, 300, 41]]), shown)
    assert codes.tolist() == [[2, 0, 255], [255, 255, 1]]
    assert stand_for == [0, 41, 299]


@pytest.mark.parametrize("count", [4, 300])
def test_only_some_labels_are_painted(count: int) -> None:
    rng = np.random.default_rng(9)
    image, palette = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8), rng.integers(0, 256, (count, 3), dtype=np.uint8)
    labels = rng.choice([0, 1, count - 1, 255], (6, 7))
    chosen = np.where(np.isin(labels, [0, count - 1]), labels, 255)
    ends = overlay(image, labels, palette=palette, only=[0, count - 1])
    assert np.array_equal(ends, golden(image, chosen, palette, 0.5))
    assert np.array_equal(overlay(image, labels, palette=palette, only=[0, count - 1], ignore_index=count), ends)
    assert np.array_equal(overlay(image, labels, palette=palette, only=[]), image)
    with pytest.raises(ValueError, match=rf"only=\[{count}\] is beyond a palette of {count} colours"):
        overlay(image, labels, palette=palette, only=[1, count])


@pytest.mark.parametrize("count", [255, 256, 257, 1000])
def test_palettes_larger_than_a_byte(count: int) -> None:
    rng = np.random.default_rng(8)
    palette = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    labels = rng.integers(0, count, (20, 30))
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(
        overlay(image, labels, palette=palette, ignore_index=7), golden(image, labels, palette, 0.5, 7)
    )


def test_names_on_palettes_larger_than_a_byte_are_those_of_a_small_one() -> None:
    """The same classes, once with numbers from 0 and once with the same classes moved up to 300 and more."""
    rng = np.random.default_rng(3)
    image, few = rng.integers(0, 256, (120, 200, 3), dtype=np.uint8), rng.integers(0, 256, (4, 3), dtype=np.uint8)
    blocks = np.kron(np.array([[0, 1], [2, 9]]), np.ones((60, 100), int))
    many = np.concatenate([rng.integers(0, 256, (300, 3), dtype=np.uint8), few])
    names = ["road", "car", "tree", "sky"]
    far = np.where(blocks == 9, 255, blocks + 300)
    expected = overlay(image, np.where(blocks == 9, 255, blocks), palette=few, classes=names, with_labels=True)
    numbers = [str(label) for label in range(300)]
    assert np.array_equal(overlay(image, far, palette=many, classes=numbers + names, with_labels=True), expected)
    assert not np.array_equal(overlay(image, far, palette=many), expected)


def test_names_where_no_label_is_shown_or_more_than_255_are() -> None:
    palette = np.random.default_rng(4).integers(0, 256, (1000, 3), dtype=np.uint8)
    image = np.zeros((40, 40, 3), np.uint8)
    empty = np.full((40, 40), 255)
    assert np.array_equal(overlay(image, empty, palette=palette, with_labels=True), image)
    crowded = np.arange(1600).reshape(40, 40) % 1000
    assert overlay(image, crowded, palette=palette, with_labels=True).shape == image.shape


def test_only_some_labels() -> None:
    image, labels, palette = scene(9, 10, 10, 6)
    kept = np.where(np.isin(labels, [1, 4]), labels, 255)
    assert np.array_equal(overlay(image, labels, palette=palette, only=[1, 4]), golden(image, kept, palette, 0.5))
    assert np.array_equal(overlay(image, labels, palette=palette, only=[]), image)


def test_classes_and_colours_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="3 classes and 2 colours"):
        overlay(np.zeros((2, 2)), np.zeros((2, 2), int), palette=[[0, 0, 0], [1, 1, 1]], classes=["a", "b", "c"])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be between 0"):
        overlay(np.zeros((2, 2)), np.zeros((2, 2), int), palette="cityscapes", alpha=alpha)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="labels is 3 x 2 and the image 2 x 3"):
        overlay(np.zeros((2, 3)), np.zeros((3, 2), int), palette="cityscapes")


def test_names_change_the_picture_under_their_boxes_only() -> None:
    rng = np.random.default_rng(10)
    image = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    labels = np.zeros((200, 300), np.uint8)
    labels[100:] = 1
    plain = overlay(image, labels, palette="cityscapes")
    named = overlay(image, labels, palette="cityscapes", with_labels=True)
    changed = (plain != named).any(axis=2)
    assert 0 < changed.mean() < 0.1
    assert not changed[:, :100].any()


def test_numbers_are_written_where_there_are_no_names() -> None:
    labels = np.zeros((60, 60), np.uint8)
    named = overlay(np.zeros((60, 60)), labels, palette=[[9, 9, 9]], with_labels=True)
    assert (named > 100).any()  # nothing but the letters is brighter than 9


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (40, 300), (500, 700)])
@pytest.mark.parametrize("count", [3, 19, 150])
def test_names_cover_a_fifth_of_the_picture_at_most(size: tuple[int, int], count: int) -> None:
    labels = np.arange(size[0])[:, None] * 7 // size[0] * 11 + np.arange(size[1]) * 11 // size[1]
    image, names = np.full((*size, 3), 90, np.uint8), [f"a class with number {n}" for n in range(count)]
    plain = overlay(image, labels % count, palette="distinct", classes=names)
    named = overlay(image, labels % count, palette="distinct", classes=names, with_labels=True)
    changed = (named != plain).any(axis=2).mean()
    assert changed <= 0.2 or min(size) < 40  # one name is written wherever three letters of it fit
    assert changed > 0 or min(size) < 40


def test_tensors_give_the_same_picture() -> None:
    torch = pytest.importorskip("torch")
    image, labels, palette = scene(11, 17, 18, 9)
    drawn = overlay(
        torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels)[None], palette=torch.from_numpy(palette)
    )
    assert np.array_equal(drawn, overlay(image, labels, palette=palette))


def test_names_wider_than_the_picture_are_shortened_and_not_left_out() -> None:
    image, labels = np.full((60, 120, 3), 90, np.uint8), np.zeros((60, 120), int)
    name = "a class with a name that is much too long for the picture"
    drawn = overlay(image, labels, palette=[[200, 0, 0]], classes=[name], with_labels=True)
    assert not np.array_equal(drawn, overlay(image, labels, palette=[[200, 0, 0]]))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"only": ["car"]}, TypeError, "only must be a list of labels"),
        ({"only": [99]}, ValueError, "only=[99] is beyond a palette of 19 colours"),
        ({"ignore_index": "void"}, TypeError, "ignore_index must be a label or None"),
        ({"alpha": "half"}, TypeError, "alpha must be a number from 0 to 1"),
        ({"classes": {"road", "car"}}, TypeError, "classes must be a list of names"),
        ({"classes": "road"}, TypeError, "classes must be a list of names"),
        ({"palette": ["red"]}, TypeError, "names of classes go into classes="),
        ({"palette": None}, TypeError, "palette must be the name of a data set"),
    ],
)
def test_mistakes_say_what_was_given(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        overlay(np.zeros((2, 2)), np.zeros((2, 2), int), **{"palette": "cityscapes", **arguments})
