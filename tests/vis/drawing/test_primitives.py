"""Points, lines, shapes, masks and texts on a visualizer's picture."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_vis import Visualizer
from seg_vis.drawing.colours import NAMES, colour, colour_list, dashes
from seg_vis.drawing.text import text_size


def canvas(value: int = 0, height: int = 60, width: int = 80) -> Visualizer:
    return Visualizer(image=np.full((height, width, 3), value, np.uint8))


def ink(visualizer: Visualizer) -> np.ndarray:
    return visualizer.get_image().any(axis=2)


def test_every_method_gives_the_visualizer_back() -> None:
    boxes, points = np.array([[5, 5, 20, 20]]), np.array([[10.0, 12.0]])
    chained = (
        canvas()
        .draw_points(points)
        .draw_lines(np.array([[0, 9]]), np.array([[0, 9]]))
        .draw_circles(points, np.array([5.0]))
        .draw_bboxes(boxes)
        .draw_polygons([np.array([[1, 1], [9, 1], [5, 9]])])
        .draw_binary_masks(np.zeros((60, 80), bool))
        .draw_texts("a", points)
    )
    assert isinstance(chained, Visualizer)


def test_a_box_lies_on_its_corners() -> None:
    drawn = ink(canvas().draw_bboxes(np.array([[10, 20, 50, 40]]), edge_colors="w", line_widths=1, alpha=1))
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert (abs(rows[[0, -1]] - [20, 40]) <= 1).all()
    assert (abs(columns[[0, -1]] - [10, 50]) <= 1).all()
    assert not drawn[24:36, 14:46].any()


def test_faces_are_filled_and_transparent() -> None:
    picture = canvas(100).draw_bboxes(np.array([[10, 10, 50, 40]]), "none", face_colors=(200, 0, 50), alpha=0.5)
    assert picture.get_image()[25, 30].tolist() == [150, 50, 75]
    assert picture.get_image()[5, 5].tolist() == [100, 100, 100]


def test_each_shape_may_have_its_own_look() -> None:
    boxes = np.array([[2, 2, 20, 20], [30, 2, 50, 20]])
    picture = (
        canvas().draw_bboxes(boxes, ["r", (0, 0, 255)], ["-", "--"], [1, 3], ["none", "lime"], alpha=1).get_image()
    )
    assert picture[10, 10].tolist() == [0, 0, 0]
    assert picture[10, 40].tolist() == [0, 255, 0]
    assert picture[2, 10, 0] > 200
    with pytest.raises(ValueError, match="colours: 3 values for 2 things"):
        canvas().draw_bboxes(boxes, ["r", "g", "b"])


def test_circles_have_their_radius() -> None:
    drawn = ink(canvas().draw_circles(np.array([40.0, 30.0]), np.array([20]), "w", face_colors="w", alpha=1))
    assert np.pi * 20**2 < drawn.sum() < np.pi * 23**2
    with pytest.raises(ValueError, match="1 centres and 2 radii"):
        canvas().draw_circles(np.array([[1, 2]]), np.array([3, 4]))


def test_lines_go_from_start_to_end() -> None:
    drawn = ink(canvas().draw_lines(np.array([[5, 70]]), np.array([[30, 30]]), "w", line_widths=1))
    assert drawn[30, 6:70].all()
    assert drawn.sum() < 3 * 70
    with pytest.raises(ValueError, match="one shape"):
        canvas().draw_lines(np.array([[1, 2]]), np.array([[1, 2], [3, 4]]))


@pytest.mark.parametrize("style", ["-", "--", ":", "-.", "dashed"])
def test_styles_leave_gaps(style: str) -> None:
    drawn = ink(canvas().draw_lines(np.array([[5, 70]]), np.array([[30, 30]]), "w", style, 1))[29:32].any(axis=0)
    assert drawn[5]
    assert drawn[6:70].all() == (style == "-")


def test_points_have_areas_and_markers() -> None:
    small = ink(canvas().draw_points(np.array([[30, 30]]), "w", sizes=np.array([20]))).sum()
    large = ink(canvas().draw_points(np.array([[30, 30]]), "w", sizes=np.array([500]))).sum()
    assert small < large < 900
    for marker in "x+*sD^":
        assert ink(canvas().draw_points(np.array([30, 30]), "w", marker))[25:36, 25:36].any()
    with pytest.raises(ValueError, match="a marker is one of"):
        canvas().draw_points(np.array([[1, 1]]), marker="?")


def test_masks_are_exact_and_one_after_another() -> None:
    masks = np.zeros((2, 60, 80), bool)
    masks[0, :, :40] = True
    masks[1, :30] = True
    picture = canvas(100).draw_binary_masks(masks, ["red", (0, 200, 0)], [0.5, 0.25]).get_image()
    assert picture[50, 10].tolist() == [178, 50, 50]
    assert picture[10, 60].tolist() == [75, 125, 75]
    assert picture[10, 10].tolist() == [134, 88, 38]
    assert picture[50, 60].tolist() == [100, 100, 100]
    with pytest.raises(TypeError, match="boolean, got int64"):
        canvas().draw_binary_masks(np.zeros((60, 80), int))
    with pytest.raises(ValueError, match="60 x 80"):
        canvas().draw_binary_masks(np.zeros((3, 3), bool))


def centre(visualizer: Visualizer) -> np.ndarray:
    return np.argwhere(ink(visualizer)).mean(axis=0)


def test_texts_stand_where_they_are_asked_to() -> None:
    here = np.array([[40, 30]])
    below_right = centre(canvas().draw_texts("xxx", here, 12, "w"))
    above_left = centre(
        canvas().draw_texts("xxx", here, 12, "w", vertical_alignments="bottom", horizontal_alignments="right")
    )
    middle = centre(canvas().draw_texts(["xxx"], here, [12], "w", "center", "center"))
    assert (below_right > [30, 40]).all()
    assert (above_left < [30, 40]).all()
    assert (abs(middle - [30, 40]) < 4).all()


def test_texts_may_have_a_box_behind() -> None:
    boxed = canvas().draw_texts("x", np.array([[20, 20]]), 14, "k", bboxes={"facecolor": "y", "alpha": 1.0}).get_image()
    assert boxed[20, 20].tolist() == [191, 191, 0]
    with pytest.raises(ValueError, match="2 texts and 1 positions"):
        canvas().draw_texts(["a", "b"], np.array([[1, 1]]))
    with pytest.raises(ValueError, match="an alignment is one of"):
        canvas().draw_texts("a", np.array([[1, 1]]), vertical_alignments="middle")


def test_what_lies_outside_is_reported_and_drawn_as_far_as_it_goes(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "seg_vis"):
        drawn = ink(canvas().draw_bboxes(np.array([[-10, -10, 500, 20]]), "w", alpha=1))
    assert "lie outside the picture of 80 x 60" in caplog.text
    assert drawn.any()


@pytest.mark.parametrize("boxes", [np.array([[5, 5, 2, 9]]), np.array([[5, 5, 9, 2]])])
def test_boxes_the_wrong_way_round_are_refused(boxes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="x1 <= x2"):
        canvas().draw_bboxes(boxes)


def test_lists_are_refused_as_in_the_reference() -> None:
    with pytest.raises(TypeError, match="bboxes must be an array or a tensor, got list"):
        canvas().draw_bboxes([[1, 2, 3, 4]])
    with pytest.raises(ValueError, match=r"positions must have shape \(N, 2\)"):
        canvas().draw_points(np.zeros((3, 3)))


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    assert ink(canvas().draw_bboxes(torch.tensor([[5.0, 5.0, 20.0, 20.0]]))).any()
    assert ink(canvas().draw_binary_masks(torch.ones(1, 60, 80, dtype=torch.bool))).all()


def test_a_picture_is_needed() -> None:
    with pytest.raises(ValueError, match="set_image"):
        Visualizer().get_image()
    with pytest.raises(ValueError, match="set_image"):
        Visualizer().draw_points(np.array([[1, 1]]))


def test_the_callers_image_stays_as_it_is() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    Visualizer(image=image).draw_bboxes(np.array([[5, 5, 20, 20]]))
    assert not image.any()


def test_colours_by_name_number_and_list() -> None:
    assert colour("none") is None
    assert colour([1, 2, 3]) == (1, 2, 3)
    assert colour_list((1, 2, 3), 2) == [(1, 2, 3), (1, 2, 3)]
    assert colour_list(["r", "g", "b"], 3) == [NAMES["r"], NAMES["g"], NAMES["b"]]
    assert colour_list([(1, 2, 3), "w", "#ffffff"], 3) == [(1, 2, 3), (255, 255, 255), (255, 255, 255)]
    with pytest.raises(ValueError, match="did you mean orange"):
        colour("oragne")
    with pytest.raises(ValueError, match="three whole numbers from 0 to 255"):
        colour((1, 2, 256))
    assert colour((0, 255, 0)) == (0, 255, 0)
    for wrong in ((-1, 0, 0), (1, 2), (1, 2, 3, 4), "#12345", "#1234567"):
        with pytest.raises(ValueError, match="colour"):
            colour(wrong)
    with pytest.raises(TypeError, match="a colour is a name"):
        colour_list(5, 2)


CSS = {
    "black": "000000", "blue": "0000ff", "brown": "a52a2a", "cyan": "00ffff", "gold": "ffd700", "gray": "808080",
    "green": "008000", "grey": "808080", "indigo": "4b0082", "lime": "00ff00", "magenta": "ff00ff",
    "maroon": "800000", "navy": "000080", "olive": "808000", "orange": "ffa500", "pink": "ffc0cb", "purple": "800080",
    "red": "ff0000", "teal": "008080", "turquoise": "40e0d0", "violet": "ee82ee", "white": "ffffff",
    "yellow": "ffff00", "b": "0000ff", "g": "008000", "r": "ff0000", "c": "00bfbf", "m": "bf00bf", "y": "bfbf00",
    "k": "000000", "w": "ffffff",
}  # fmt: skip


def test_names_are_the_colours_of_css_and_letters_those_of_matplotlib() -> None:
    for name, code in CSS.items():
        assert colour(name) == tuple(bytes.fromhex(code)) == colour(f"#{code}") == colour(f"#{code.upper()}")
    assert NAMES.keys() == CSS.keys()


@pytest.mark.parametrize(
    ("style", "width", "expected"),
    [
        ("--", 1, [(0, 6), (10, 16), (20, 25)]),
        ("dashed", 2, [(0, 12), (20, 25)]),
        (":", 1, [(0, 1), (4, 5), (8, 9), (12, 13), (16, 17), (20, 21), (24, 25)]),
        ("dotted", 0.5, [(0, 1), (4, 5), (8, 9), (12, 13), (16, 17), (20, 21), (24, 25)]),
        ("-.", 1, [(0, 6), (9, 10), (13, 19), (22, 23)]),
        ("-", 3, [(0, 25)]),
        ("solid", 1, [(0, 25)]),
    ],
)
def test_dashes_and_gaps_grow_with_the_width(style: str, width: float, expected: Any) -> None:
    pieces = dashes(np.array([[0.0, 7.0], [25.0, 7.0]]), style, width)
    assert np.allclose([piece[[0, -1], 0] for piece in pieces], expected)
    assert all((piece[:, 1] == 7).all() for piece in pieces)


def test_a_dash_goes_round_a_corner() -> None:
    first, second = dashes(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 10.0]]), "--", 1)
    assert first.tolist() == [[0, 0], [4, 0], [4, 2]]
    assert second.tolist() == [[4, 6], [4, 10]]
    ends_at_a_corner, _ = dashes(np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 5.0]]), "--", 1)
    assert ends_at_a_corner.tolist() == [[0, 0], [6, 0]]


@given(st.sampled_from(["--", ":", "-."]), st.floats(0.5, 5), st.integers(2, 300))
def test_dashes_lie_on_the_line_in_order(style: str, width: float, length: int) -> None:
    pieces = dashes(np.array([[0.0, 0.0], [length, 0.0]]), style, width)
    edges = np.concatenate([piece[:, 0] for piece in pieces])
    assert (np.diff(edges) >= -1e-9).all()
    assert edges[0] == 0
    assert edges[-1] <= length


def test_unknown_styles_are_refused() -> None:
    with pytest.raises(ValueError, match="a line style is one of"):
        dashes(np.zeros((2, 2)), "~", 1)


def test_a_text_may_have_several_lines() -> None:
    def drawn(text: str, y: int) -> np.ndarray:
        canvas = Visualizer(image=np.zeros((80, 120, 3), np.uint8))
        return canvas.draw_texts(text, np.array([[5, y]]), font_sizes=20, colors="w").get_image()

    both = drawn("road\ncar", 4)
    first, second = drawn("road", 4), drawn("car", 4 + text_size("road", 20)[1])
    assert np.array_equal(both, np.maximum(first, second))


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (lambda v: v.draw_points(np.array([[np.nan, 1]])), ValueError, "positions holds 1 NaN"),
        (lambda v: v.draw_circles(np.array([[1, 1]]), np.array([-5])), ValueError, "radius must be a number from 0"),
        (lambda v: v.draw_bboxes(np.array([[1, 1, 5, 5]]), edge_colors=3), TypeError, "a colour is a name"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        draw(Visualizer(image=np.zeros((20, 30, 3), np.uint8)))


def test_one_size_is_for_all_points() -> None:
    places = np.array([[10.0, 10.0], [40.0, 30.0]])
    one, each = canvas(), canvas()
    one.draw_points(places, sizes=80)
    each.draw_points(places, sizes=np.array([80, 80]))
    assert np.array_equal(ink(one), ink(each))
    assert ink(one).any()
