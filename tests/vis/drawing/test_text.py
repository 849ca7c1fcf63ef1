"""Text: what is measured is what is drawn, in many scripts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_vis.drawing import fonts
from seg_vis.drawing import text as text_module
from seg_vis.drawing.text import draw_text, font_size, prepared, readable_on, shortened, tag_size, text_size, write_tag

WORDS = ["road", "pgjyÉ", "道路", "보행자", "トラック", "дорога", "שלום", "مرحبا", "Straße ñ", "traffic light 0123"]
needs_fonts = pytest.mark.skipif(not fonts.has_fonts(), reason="OpenCV has fonts from 5.0 on, older ones strokes")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What was measured before is measured anew, and forgotten afterwards."""
    caches = [fonts.font_face, fonts.has_letter, fonts.font_with, text_module.prepared, text_module.text_size]
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


@pytest.fixture
def without_fonts(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 4: letters are strokes."""
    monkeypatch.setattr(fonts, "has_fonts", lambda: False)
    monkeypatch.setattr(text_module, "has_fonts", lambda: False)


def drawn(text: str, size: int, corner: tuple[int, int] = (20, 20)) -> np.ndarray:
    canvas = np.zeros((140, 600, 3), np.uint8)
    draw_text(canvas, text, corner, size, (255, 255, 255))
    return canvas.any(axis=2)


def check_box(text: str, size: int) -> None:
    width, height = text_size(text, size)
    ink = drawn(text, size)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert rows[0] >= 20 - 2
    assert rows[-1] < 20 + height + 2
    assert columns[0] >= 20 - 2
    assert columns[-1] < 20 + width + 3
    assert columns[-1] - columns[0] > 0.8 * width - 4


@needs_fonts
@pytest.mark.parametrize("text", WORDS)
@pytest.mark.parametrize("size", [9, 13, 26, 48])
def test_text_fills_its_box_and_stays_in_it(text: str, size: int) -> None:
    check_box(text, size)


@pytest.mark.parametrize("text", ["road", "pgjyE", "traffic light 0123"])
@pytest.mark.parametrize("size", [9, 13, 26, 48])
def test_strokes_fill_their_box_and_stay_in_it(text: str, size: int, without_fonts: None) -> None:
    check_box(text, size)


def test_strokes_have_the_letters_of_ascii_and_say_what_they_lack(without_fonts: None) -> None:
    told = r"OpenCV \S+ has ASCII letters only, .* for '路道' of '道路': OpenCV 5 has fonts"
    with pytest.warns(UserWarning, match=told):
        asked = drawn("道路", 26)
    assert np.array_equal(asked, drawn("??", 26))
    assert np.array_equal(drawn("Zürich Ñ", 26), drawn("Zurich N", 26))


def test_strokes_are_drawn_by_what_every_opencv_has(without_fonts: None, tmp_path: Path) -> None:
    """The two kinds of letters that OpenCV brings differ; a font file is refused by name."""
    canvas = np.zeros((2, 60, 200, 3), np.uint8)
    for sheet, font in zip(canvas, ("sans", "italic"), strict=True):
        draw_text(sheet, "road", (10, 2), 24, (255, 255, 255), font)
    assert not np.array_equal(*canvas)
    (tmp_path / "some.ttf").touch()
    with pytest.raises(ValueError, match=r"some\.ttf': this is OpenCV \S+, font files need 5\.0 or newer"):
        text_size("road", 20, str(tmp_path / "some.ttf"))


@needs_fonts
@pytest.mark.parametrize("text", ["道路", "보행자", "トラック", "дорога"])
def test_letters_are_letters_and_no_boxes(text: str) -> None:
    """OpenCV draws a question mark for what its font lacks."""
    missing = drawn("?" * len(text), 26)
    assert not np.array_equal(drawn(text, 26), missing)
    assert len({drawn(letter, 40).tobytes() for letter in text}) == len(set(text))


def test_text_at_the_right_edge_is_cut_and_not_wrapped() -> None:
    canvas = np.zeros((60, 50, 3), np.uint8)
    draw_text(canvas, "a long name", (10, 2), 14, (255, 255, 255))
    assert canvas[:20].any()
    assert not canvas[24:].any()


@needs_fonts
def test_the_height_depends_on_the_size_but_for_deep_letters() -> None:
    assert {text_size(text, 20)[1] for text in WORDS if text != "مرحبا"} == {25}
    assert text_size("مرحبا", 20)[1] > 25
    assert text_size("", 20)[0] == 0


@pytest.mark.parametrize(
    ("height", "width", "size"), [(20, 30, 11), (512, 1024, 13), (1024, 2048, 26), (9000, 9000, 48)]
)
def test_the_size_suits_the_picture(height: int, width: int, size: int) -> None:
    assert font_size(height, width) == size


def test_black_on_bright_and_white_on_dark() -> None:
    assert readable_on(np.array([255, 255, 0], np.uint8)) == (0, 0, 0)
    assert readable_on(np.array([0, 0, 142], np.uint8)) == (255, 255, 255)


def test_a_tag_changes_its_box_only() -> None:
    canvas = np.full((80, 200, 3), 77, np.uint8)
    width, height = tag_size("pgjy", 20)
    write_tag(canvas, "pgjy", (15, 10, width, height), 20, np.array([200, 0, 0], np.uint8))
    changed = (canvas != 77).any(axis=2)
    assert changed[10 : 10 + height, 15 : 15 + width].all()
    changed[10 : 10 + height, 15 : 15 + width] = False
    assert not changed.any()


@pytest.mark.parametrize("text", ["a\nb", "a \t b", " a b\r\n", "a\u200b b", "a\x00 b"])
def test_a_name_is_one_line(text: str) -> None:
    assert np.array_equal(drawn(text, 20), drawn("a b", 20))
    assert text_size(text, 20) == text_size("a b", 20)


@needs_fonts
def test_right_to_left_writing_is_drawn_in_its_reading_order() -> None:
    """OpenCV draws letters as they are stored, the first one to the left."""
    assert np.array_equal(drawn("שלום", 26), drawn("םולש", 26)) is False
    first, word = drawn("ש", 26), drawn("שלום", 26)
    where = np.flatnonzero(word.any(axis=0))
    width = np.flatnonzero(first.any(axis=0)).size
    ink = first[:, first.any(axis=0)]
    assert np.array_equal(word[:, where[-1] - width + 1 : where[-1] + 1], ink)


@needs_fonts
def test_letters_that_no_font_has_are_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_vis.drawing.fonts.shutil.which", lambda name: None)
    with pytest.warns(UserWarning, match=r"no font here has the letters '[\u1200\u1201]+' of .* or give font="):
        text_size("\u1200\u1201 road", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_size("\u1200\u1201 road", 30)
        for word in WORDS:
            text_size(word, 20)


@needs_fonts
@pytest.mark.skipif(os.name == "nt", reason="a script of the shell stands for the program")
def test_an_installed_font_stands_in_where_it_has_the_letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program that lists fonts names two; only one of them has the letter."""
    lister = tmp_path / "fc-list"
    lister.write_text("#!/bin/sh\necho none.ttf\necho some.ttf\n")
    lister.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("seg_vis.drawing.fonts.has_letter", lambda letter, font: font == "some.ttf")
    assert prepared("\u1202", "sans") == ("\u1202", "some.ttf")


@given(st.text(max_size=40), st.integers(0, 200))
def test_a_shortened_text_fits(text: str, width: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        short = shortened(text, 16, width)
        assert text_size(short, 16)[0] <= width
        assert short in ("", text) or (short.endswith("...") and text.startswith(short[:-3]))


def test_a_text_is_shortened_as_little_as_need_be() -> None:
    text = "a long name of a class"
    full = text_size(text, 16)[0]
    assert shortened(text, 16, full) == text
    cut = shortened(text, 16, full - 1)
    assert cut == "a long name of a c..." or len(cut) >= len(text) - 3
    assert shortened(text, 16, 20) == ""


def test_a_font_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"'sans', 'italic', 'uni' or a font file, and 'none\.ttf' is no file"):
        text_size("road", 20, "none.ttf")
