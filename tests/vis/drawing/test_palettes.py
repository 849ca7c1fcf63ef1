"""Palettes of data sets, and palettes made to measure."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_vis import get_classes, get_palette
from seg_vis.drawing.generated_palettes import as_seen, generate_palette
from seg_vis.drawing.palettes import known, resolve

SIZES = {
    "cityscapes": 19,
    "ade20k": 150,
    "pascal_voc": 21,
    "pascal_context": 59,
    "pascal_context_60": 60,
    "coco_stuff": 171,
    "loveda": 7,
    "isaid": 16,
    "potsdam": 6,
    "vaihingen": 6,
}


@pytest.mark.parametrize(("name", "count"), SIZES.items())
def test_every_data_set_has_a_colour_and_a_name_for_each_label(name: str, count: int) -> None:
    assert get_palette(name).shape == (count, 3)
    assert len(get_classes(name)) == count
    assert all(word == word.strip() and word for word in get_classes(name))


@pytest.mark.parametrize(
    ("name", "label", "word", "colour"),
    [
        ("cityscapes", 18, "bicycle", [119, 11, 32]),
        ("ade20k", 0, "wall", [120, 120, 120]),
        ("ADE20K", 149, "flag", [92, 0, 255]),
        ("voc", 15, "person", [192, 128, 128]),
        ("Pascal VOC", 0, "background", [0, 0, 0]),
        ("pascal_context_60", 0, "background", [120, 120, 120]),
        ("LoveDA", 3, "water", [0, 0, 255]),
        ("potsdam", 4, "car", [255, 255, 0]),
        ("coco-stuff", 0, "person", [0, 192, 64]),
        ("iSAID", 1, "ship", [0, 0, 63]),
    ],
)
def test_known_colours(name: str, label: int, word: str, colour: list[int]) -> None:
    assert get_classes(name)[label] == word
    assert get_palette(name)[label].tolist() == colour


def test_the_voc_palette_follows_its_rule() -> None:
    """Bit 3i, 3i+1, 3i+2 of the label are bit 7-i of red, green, blue (Pascal VOC development kit)."""
    for label, colour in enumerate(get_palette("pascal_voc").tolist()):
        bits = [sum(((label >> (3 * i + c)) & 1) << (7 - i) for i in range(8)) for c in range(3)]
        assert colour == bits


def test_names_are_found_in_any_spelling() -> None:
    for alias in ("ade", "voc12", "voc12aug", "pcontext", "coco_stuff164k", "isprs", "CityScapes"):
        assert get_classes(alias)
    assert len(known()) > len(SIZES)


def test_a_wrong_name_lists_near_ones() -> None:
    with pytest.raises(ValueError, match="did you mean cityscapes"):
        get_palette("cityscape_")
    with pytest.raises(ValueError, match="distinct, colour_blind"):
        get_classes("zzz")
    with pytest.raises(ValueError, match="no data set") as caught:
        get_palette("pascal_contex")
    assert str(caught.value).count(" or ") == 2  # three names at the most


def test_a_palette_of_ones_own_holds_any_byte() -> None:
    palette = get_palette([[0, 128, 255], [1, 254, 0]])
    assert palette.dtype == np.uint8
    assert palette.tolist() == [[0, 128, 255], [1, 254, 0]]


@pytest.mark.parametrize(
    "palette", [[[0, 0]], [1, 2, 3], [], [[0, 0, 256]], [[-1, 0, 0]], [[0.5, 0, 0]], np.zeros((2, 2, 3))]
)
def test_bad_palettes_are_refused(palette: object) -> None:
    with pytest.raises(ValueError, match="palette must"):
        get_palette(palette)


def test_a_made_palette_needs_a_count() -> None:
    with pytest.raises(ValueError, match="made to measure"):
        get_palette("distinct")
    with pytest.raises(ValueError, match="1 to 4096"):
        generate_palette(0)
    assert get_palette("distinct", 1).shape == (1, 3)
    with pytest.raises(ValueError, match="count must be 1 or more"):
        get_palette("distinct", 0)


@pytest.mark.parametrize(
    ("name", "for_all_eyes"),
    [("distinct", False), ("colour_blind", True), ("color_blind", True), ("ColourBlind", True)],
)
def test_a_made_palette_is_the_one_that_its_name_says(name: str, for_all_eyes: bool) -> None:
    assert np.array_equal(get_palette(name, 9), generate_palette(9, colour_blind=for_all_eyes))
    assert not np.array_equal(get_palette(name, 9), generate_palette(9, colour_blind=not for_all_eyes))


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.034, 0.0, 0.0)),
        ((10, 10, 10), (2.742, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
    ],
)
def test_colours_lie_where_cielab_has_them(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    seen = as_seen(np.array([rgb]) / 255, True)
    assert seen.shape == (3, 1, 3)
    assert seen[0, 0] == pytest.approx(lab, abs=0.03)
    if len(set(rgb)) == 1:  # greys are the same to all eyes
        assert seen[0, 0] == pytest.approx(lab, abs=0.001)
        assert seen[1, 0] == pytest.approx(lab, abs=0.05)
        assert seen[2, 0] == pytest.approx(lab, abs=0.05)


def test_the_first_colours_stay_what_they_are() -> None:
    """Pictures of two releases can be laid side by side."""
    for_most = [[255, 0, 0], [46, 0, 255], [0, 255, 0], [70, 209, 255], [116, 116, 0], [116, 0, 93]]
    for_all = [[255, 0, 0], [46, 0, 255], [185, 209, 255], [23, 46, 70], [185, 255, 185], [255, 255, 0]]
    assert generate_palette(6).tolist() == for_most
    assert generate_palette(6, colour_blind=True).tolist() == for_all
    with pytest.raises(ValueError, match="1 to 4096 colours, got 4097"):
        generate_palette(4097)


@pytest.mark.parametrize("colour_blind", [False, True])
@pytest.mark.parametrize("count", [1, 2, 8, 19, 150, 255, 1000])
def test_made_palettes_are_distinct(count: int, colour_blind: bool) -> None:
    palette = generate_palette(count, colour_blind=colour_blind)
    assert palette.shape == (count, 3)
    assert len(np.unique(palette, axis=0)) == count
    assert palette.max(axis=1).min() > 20


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 255), st.integers(1, 255))
def test_a_longer_palette_begins_with_the_shorter(one: int, other: int) -> None:
    shared = min(one, other)
    assert np.array_equal(generate_palette(one)[:shared], generate_palette(other)[:shared])


def test_colour_blind_eyes_tell_the_colours_apart() -> None:
    """Least CIELAB distance, also as people without red or green cones see it; 2.3 is just noticeable."""

    def least(palette: np.ndarray) -> float:
        seen = as_seen(palette / 255.0, True)
        pairs = itertools.combinations(range(len(palette)), 2)
        return min(np.linalg.norm(seen[:, a] - seen[:, b], axis=1).min() for a, b in pairs)

    assert least(generate_palette(19, colour_blind=True)) > 15
    assert least(generate_palette(19, colour_blind=True)) > 3 * least(generate_palette(19))


def test_resolve_checks_the_length_once() -> None:
    assert len(resolve("colour_blind", ["a", "b", "c"])) == 3
    assert len(resolve("distinct", None)) == 255
    with pytest.raises(ValueError, match="2 classes and 19 colours"):
        resolve("cityscapes", ["a", "b"])
