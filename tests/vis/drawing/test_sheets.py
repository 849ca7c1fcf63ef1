"""Sheets of several pictures, and legends."""

from __future__ import annotations

import numpy as np
import pytest
from seg_vis import compare, error_map, get_palette, legend, overlay, panels
from seg_vis.drawing.text import text_size


def flat(value: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_panels_stand_side_by_side_with_white_between() -> None:
    sheet = panels([flat(1), flat(2), flat(3)], gap=4)
    assert sheet.shape == (20, 98, 3)
    assert sheet[0, [0, 34, 68], 0].tolist() == [1, 2, 3]
    assert (sheet[:, 30:34] == 255).all()


def test_panels_go_into_columns() -> None:
    sheet = panels([flat(i) for i in range(1, 6)], columns=2, gap=2)
    assert sheet.shape == (64, 62, 3)
    assert sheet[[0, 0, 22, 22, 44], [0, 32, 0, 32, 0], 0].tolist() == [1, 2, 3, 4, 5]
    assert (sheet[44:, 32:] == 255).all()


def test_sizes_may_differ_and_nothing_is_stretched() -> None:
    sheet = panels([flat(1, 10, 10), flat(2, 30, 20)], gap=1)
    assert sheet.shape == (30, 31, 3)
    assert (sheet[:10, :10] == 1).all()
    assert (sheet[10:, :10] == 255).all()
    assert (sheet[:, 11:] == 2).all()


def test_titles_stand_above_and_fit() -> None:
    sheet = panels({"a title that is longer than its picture": flat(9, 60, 120), "b": flat(9, 60, 120)}, gap=0)
    strip = sheet.shape[0] - 60
    assert sheet.shape[1] == 240
    assert strip > 8
    assert (sheet[strip:] == 9).all()
    assert (sheet[:strip] < 100).any()
    assert (sheet[:strip, :1] == 255).all()
    assert (sheet[:strip, 119:121] == 255).all()


def test_small_pictures_make_room_for_their_titles() -> None:
    """Nobody can read the first two letters of `prediction` over a picture of 8 x 8."""
    small, wide = panels({"prediction": flat(9, 8, 8)}), panels({"prediction": flat(9, 8, 120)})
    strip = small.shape[0] - 8
    assert small.shape[1] < 100
    assert (small[strip:, :8] == 9).all()
    assert (small[strip:, 8:] == 255).all()
    assert (small[:strip] < 128).sum() == (wide[:strip] < 128).sum()


def test_titles_of_any_kind_are_written() -> None:
    assert panels({1: flat(9, 20, 20)}).shape[0] > 20  # type: ignore[dict-item]
    assert panels({"": flat(9, 20, 20)}).shape[0] == 20


def test_any_form_of_picture_is_taken() -> None:
    assert panels([np.zeros((4, 6)), np.ones((4, 6, 4)), flat(1, 4, 6)], gap=0).shape == (4, 18, 3)


def test_no_picture_is_an_error() -> None:
    for nothing in ([], {}):
        with pytest.raises(ValueError, match="one picture at least"):
            panels(nothing)
    with pytest.raises(ValueError, match="columns must be 1 or more, got 0"):
        panels([flat(1)], columns=0)
    with pytest.raises(ValueError, match="gap must be 0 or more"):
        panels([flat(1)], gap=-1)
    with pytest.raises(TypeError, match="several pictures, in a list or a dict, got one ndarray"):
        panels(flat(1))  # type: ignore[arg-type]


def test_compare_is_image_truth_prediction_errors() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    truth, guess = rng.integers(0, 19, (20, 30)), rng.integers(0, 19, (20, 30))
    truth[0] = 255
    sheet = compare(image, truth, guess, palette="cityscapes", titles=False)
    parts = [sheet[:, left : left + 30] for left in (0, 34, 68, 102)]
    assert sheet.shape == (20, 132, 3)
    assert np.array_equal(parts[0], image)
    assert np.array_equal(parts[1], overlay(image, truth, palette="cityscapes"))
    assert np.array_equal(parts[2], overlay(image, guess, palette="cityscapes"))
    assert np.array_equal(parts[3], error_map(image, truth, guess))
    with pytest.raises(ValueError, match="prediction is 5 x 30 and the image 20 x 30"):
        compare(image, truth, guess[:5], palette="cityscapes")


def test_the_titles_of_compare_stand_above_the_same_pictures() -> None:
    image, truth = flat(7, 40, 100), np.zeros((40, 100), int)
    plain = compare(image, truth, truth, palette="cityscapes", titles=False)
    titled = compare(image, truth, truth, palette="cityscapes")
    assert titled.shape[0] > 40
    assert np.array_equal(titled[-40:], plain)


def test_a_legend_shows_every_colour_once_in_order() -> None:
    sheet = legend("cityscapes", size=20)
    column = sheet[:, 12]
    changes = [tuple(c) for i, c in enumerate(column.tolist()) if i == 0 or column[i - 1].tolist() != c]
    shown = [c for c in changes if c not in ((255, 255, 255), (0, 0, 0))]
    assert shown == [tuple(c) for c in get_palette("cityscapes").tolist()]


def test_a_legend_is_as_large_as_its_names() -> None:
    short, long = legend([[1, 2, 3]], ["a"]), legend([[1, 2, 3]], ["a very long name of a class"])
    difference = text_size("a very long name of a class", 16)[0] - text_size("a", 16)[0]
    assert long.shape[1] - short.shape[1] == difference
    assert (long[:, -2:] == 255).all()


def test_a_legend_of_what_is_there() -> None:
    labels = np.array([[0, 5, 255]])
    assert legend("cityscapes", labels=labels).shape[0] == legend([[1, 1, 1], [2, 2, 2]], ["a", "b"]).shape[0]
    assert legend("cityscapes", labels=np.full((2, 2), 255)).shape[2] == 3


def test_each_class_has_a_field_with_a_border_in_a_row_of_its_own() -> None:
    """Letters of 16 pixels: rows of 24, with fields of 24 x 20 that begin 4 pixels from the corner."""
    sheet = legend([[200, 0, 0], [0, 200, 0], [0, 0, 200]], ["a", "b", "c"], size=16)
    assert sheet.shape[0] == 3 * 24 + 8
    for row, colour in enumerate([[200, 0, 0], [0, 200, 0], [0, 0, 200]]):
        field = sheet[24 * row + 4 : 24 * row + 24, 4:28]
        assert (field[[0, -1]] == 0).all()
        assert (field[:, [0, -1]] == 0).all()
        assert (field[1:-1, 1:-1] == colour).all()
    assert (sheet[:4] == 255).all()
    assert (sheet[:, :4] == 255).all()
    assert (sheet[:, 28:30] == 255).all()
    assert (sheet[[24, 25, 26, 27], :] == 255).all(axis=-1).all(axis=-1).tolist() == [True] * 4
    assert (sheet[:, 36:] < 128).any()


def test_a_legend_of_nothing_is_white() -> None:
    sheet = legend("cityscapes", labels=np.full((2, 2), 255))
    assert sheet.shape == (32, 24, 3)
    assert (sheet == 255).all()


def test_columns_of_unequal_length_stand_side_by_side() -> None:
    colours = get_palette("distinct", 5)
    sheet = legend(colours, ["a"] * 5, columns=2)
    single = legend(colours[:1], ["a"]).shape[1]
    assert sheet.shape == (3 * 24 + 8, 2 * single, 3)
    for label, (row, left) in enumerate([(0, 0), (1, 0), (2, 0), (0, single), (1, single)]):
        assert sheet[24 * row + 14, left + 16].tolist() == colours[label].tolist()
    assert (sheet[2 * 24 + 4 :, single:] == 255).all()
    assert np.array_equal(legend(colours, list("abcde"), columns=9), legend(colours, list("abcde"), columns=5))


def test_a_column_is_as_wide_as_its_longest_name() -> None:
    names = ["a", "a long name", "b"]
    assert legend(get_palette("distinct", 3), names).shape[1] == legend([[1, 2, 3]], names[1:2]).shape[1]


def test_columns_are_filled_from_the_top() -> None:
    one, two = legend("loveda"), legend("loveda", columns=2)
    assert two.shape[0] < one.shape[0]
    assert two.shape[1] > one.shape[1]
    with pytest.raises(ValueError, match="columns must be 1 or more"):
        legend("loveda", columns=0)


def test_a_class_without_a_name_has_its_number() -> None:
    pair = [[255, 0, 0], [0, 255, 0]]
    assert np.array_equal(legend(pair, ["road", " "]), legend(pair, ["road", "1"]))
