"""Where names go: the reference's anchors, and boxes that neither leave the picture nor hide one another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_vis.drawing.label_places import Box, anchors, in_the_way, nearest_free, overlaps, place


def anchor_by_hand(codes: np.ndarray, label: int) -> tuple[int, int]:
    """The reference's rule, spelt out: the first row with most pixels, the middle one of its columns."""
    rows = [np.flatnonzero(row == label) for row in codes]
    longest = max(range(len(rows)), key=lambda i: (len(rows[i]), -i))
    return int(rows[longest][len(rows[longest]) // 2]), longest


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 39, 90]))
def test_anchors_follow_the_reference(seed: int, height: int, width: int, classes: int) -> None:
    codes = np.random.default_rng(seed).integers(0, classes, (height, width), dtype=np.uint8)
    present = np.unique(codes).tolist()
    assert anchors(codes, present) == {label: anchor_by_hand(codes, label) for label in present}


def test_many_classes_give_the_same_anchors_as_few() -> None:
    codes = np.random.default_rng(0).integers(0, 200, (600, 80), dtype=np.uint8)  # in parts of 256 rows
    together = anchors(codes, range(200))
    alone = {label: point for label in range(200) for label, point in anchors(codes, [label]).items()}
    assert together == alone


def test_labels_that_are_not_there_have_no_anchor() -> None:
    assert anchors(np.zeros((3, 3), np.uint8), [0, 7]) == {0: (1, 0)}


def test_the_tie_goes_to_the_first_row() -> None:
    """Rows 2 (columns 1-4) and 4 (columns 2-5) are equally long: (3, 2), as measured on MMSegmentation."""
    codes = np.zeros((6, 7), np.uint8)
    codes[2, 1:5] = codes[4, 2:6] = 9
    assert anchors(codes, [9]) == {9: (3, 2)}


SIZE = st.tuples(st.integers(1, 30), st.integers(1, 12))
POINT = st.tuples(st.integers(-20, 120), st.integers(-20, 90))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(SIZE, POINT), max_size=40))
def test_boxes_stay_inside_and_apart(things: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    sizes, points = [size for size, _ in things], [point for _, point in things]
    boxes = place(sizes, points, width=100, height=70)
    there = [box for box in boxes if box is not None]
    assert [box[2:] for box in boxes if box] == [s for s, box in zip(sizes, boxes, strict=True) if box]
    assert all(x >= 0 and y >= 0 and x + w <= 100 and y + h <= 70 for x, y, w, h in there)
    assert not any(in_the_way([one], other) for one, other in itertools.combinations(there, 2))


@given(st.tuples(st.integers(0, 8), st.integers(0, 8)), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_boxes_are_in_the_way_where_they_share_a_pixel(corner: tuple[int, int], size: tuple[int, int]) -> None:
    painted = np.zeros((12, 12), int)
    painted[3:6, 4:6] += 1
    painted[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]] += 1
    other: Box = (4, 3, 2, 3)
    shared = bool((painted == 2).any())
    assert in_the_way([other], (*corner, *size)) == ([other] if shared else [])
    covered = overlaps(np.array([[corner[0]]]), np.array([[corner[1]]]), size, np.array([other]))
    assert covered.tolist() == [[shared]]


def test_the_nearest_free_place_is_found_among_few_and_many_boxes() -> None:
    wall: list[Box] = [(0, y, 10, 2) for y in range(0, 20, 2)]
    assert nearest_free(wall, (4, 9, 3, 2), (17, 18)) == (10, 9, 3, 2)
    assert nearest_free(wall, (4, 9, 3, 2), (7, 18)) is None
    tiles: list[Box] = [(x, y, 5, 5) for y in range(0, 50, 5) for x in range(0, 50, 5) if (x, y) != (40, 45)]
    assert nearest_free(tiles, (2, 3, 5, 5), (45, 45)) == (40, 45, 5, 5)


def test_a_box_with_room_starts_at_its_point() -> None:
    assert place([(10, 5), (8, 4)], [(3, 4), (60, 40)], 100, 70) == [(3, 4, 10, 5), (60, 40, 8, 4)]


@pytest.mark.parametrize(
    ("point", "corner"), [((95, 3), (90, 3)), ((3, 69), (3, 65)), ((-5, -5), (0, 0)), ((200, 200), (90, 65))]
)
def test_a_box_at_the_edge_is_moved_inside(point: tuple[int, int], corner: tuple[int, int]) -> None:
    assert place([(10, 5)], [point], 100, 70) == [(*corner, 10, 5)]


def test_what_is_in_the_way_is_avoided_by_the_shortest_step() -> None:
    first: Box = (40, 30, 20, 6)
    assert place([(20, 6), (20, 6)], [(40, 30), (42, 33)], 100, 70) == [first, (42, 36, 20, 6)]


@pytest.mark.parametrize(("point", "corner"), [((40, 28), (40, 20)), ((35, 30), (30, 30)), ((46, 30), (50, 30))])
def test_a_box_goes_up_left_or_right_where_that_is_nearest(point: tuple[int, int], corner: tuple[int, int]) -> None:
    assert place([(10, 10), (10, 10)], [(40, 30), point], 100, 70) == [(40, 30, 10, 10), (*corner, 10, 10)]


def test_a_full_picture_has_no_room_and_says_so() -> None:
    assert place([(10, 5)] * 3, [(0, 0)] * 3, 10, 10) == [(0, 0, 10, 5), (0, 5, 10, 5), None]
    assert place([(11, 5)], [(0, 0)], 10, 10) == [None]


def test_room_far_away_is_found() -> None:
    """All but one corner of a chequered picture is taken."""
    cells = [(x, y) for y in range(0, 100, 10) for x in range(0, 100, 10)]
    assert place([(10, 10)] * 100, [(50, 50)] * 100, 100, 100).count(None) == 0
    assert place([(10, 10)] * 100, cells, 100, 100) == [(x, y, 10, 10) for x, y in cells]
