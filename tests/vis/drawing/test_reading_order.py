"""Right-to-left writing in the order in which it is drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_vis.drawing.reading_order import visual_order

ROAD, CAR = "כביש", "רכב"


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        ("", ""),
        ("road (1)", "road (1)"),
        (ROAD, ROAD[::-1]),
        (f"{ROAD} {CAR}", f"{CAR[::-1]} {ROAD[::-1]}"),
        (f"{ROAD} 12", f"12 {ROAD[::-1]}"),
        (f"12 {ROAD}", f"{ROAD[::-1]} 12"),
        (f"{ROAD} 12 {CAR}", f"{CAR[::-1]} 12 {ROAD[::-1]}"),
        (f"{ROAD} (road) {CAR}", f"{CAR[::-1]} (road) {ROAD[::-1]}"),
        (f"({ROAD})", f"({ROAD[::-1]})"),
        (f"road {ROAD} 12", f"road 12 {ROAD[::-1]}"),
        (f"road {ROAD} car", f"road {ROAD[::-1]} car"),
        (f"road 12 {ROAD}", f"road 12 {ROAD[::-1]}"),
        (f"{ROAD} car 12", f"car 12 {ROAD[::-1]}"),
        (f"a {ROAD} b {CAR} c", f"a {ROAD[::-1]} b {CAR[::-1]} c"),
        ("مرحبا 2020", "2020 ابحرم"),
        ("שָׁ" + "לום", "םול" + "שָׁ"),
    ],
)
def test_lines_look_as_the_bidirectional_algorithm_says(stored: str, seen: str) -> None:
    assert visual_order(stored) == seen


@given(st.text("abcxyz 123()-/_éß道"))
def test_other_writing_stays_as_it_is(text: str) -> None:
    assert visual_order(text) == text


@given(st.text("abאבגا12 -(),"))
def test_no_letter_is_lost_or_added(text: str) -> None:
    brackets = str.maketrans(")", "(")
    assert sorted(visual_order(text).translate(brackets)) == sorted(text.translate(brackets))


@given(st.text("אבגדה -"))
def test_turning_twice_gives_the_text_again(text: str) -> None:
    assert visual_order(visual_order(text)) == text
