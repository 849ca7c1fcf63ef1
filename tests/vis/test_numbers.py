"""Every number, label and switch that seg-vis takes: it is meant, or refused with an error that names it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import seg_vis
from seg_vis import (
    SegLocalVisualizer,
    SegVisualizationHook,
    WandbVisBackend,
    compare,
    confidence_map,
    contours,
    error_map,
    feature_map,
    get_palette,
    legend,
    overlay,
    panels,
    to_rgb,
)

VALUES: dict[str, Any] = {
    "0": 0, "-1": -1, "-0.5": -0.5, "0.5": 0.5, "1": 1, "1.5": 1.5, "2.0": 2.0, "float32": np.float32(1),
    "int64": np.int64(2), "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "1e30": 1e30, "huge": 10**30,
    "text": "1", "True": True, "None": None, "dict": {"a": 1}, "list": [1, 2], "bad list": [math.nan, 1],
    "complex": 1j,
}  # fmt: skip
COUNT = {"1", "2.0", "float32", "int64"}
WHOLE = {"0", *COUNT}
LABEL = {"-1", "0", "1", "int64", "None"}
LABELS = {"0", "1", "int64", "list", "None"}
SHARE = {"0", "0.5", "1", "float32"}
SWITCH = {"0", "1", "True"}

IMAGE = np.zeros((16, 16, 3), np.uint8)
LABEL_MAP = np.repeat(np.uint8([[0], [1]]), [4, 12], axis=0).repeat(16, axis=1)
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 255, 0]]
PICTURE: dict[str, Any] = {"image": IMAGE, "labels": LABEL_MAP, "palette": PALETTE}
BOTH: dict[str, Any] = {"image": IMAGE, "truth": LABEL_MAP, "prediction": LABEL_MAP}
CHANNELS: dict[str, Any] = {"image": np.random.default_rng(0).random((16, 16, 5)), "bands": [0, 1, 2]}
LAYERS: dict[str, Any] = {"featmap": np.random.default_rng(0).random((4, 8, 8)), "overlaid_image": IMAGE}
NAMED = {"palette": PALETTE, "classes": ["a", "b", "c"]}

CASES: list[tuple[Callable[..., Any], dict[str, Any], dict[str, set[str]]]] = [
    (SegVisualizationHook, {}, {
        "draw": SWITCH, "interval": COUNT, "show": SWITCH, "wait_time": {"-1", "-0.5", "0", "0.5", "1.5", *COUNT},
        "samples": {"None", *COUNT}, "max_pictures": {"None", *COUNT}, "seed": WHOLE, "background": SWITCH,
        "bands": {"None", "-1", "0", "1", "int64"}, "stretch": {"None", "list"}}),
    (SegLocalVisualizer, {}, {"alpha": SHARE, "legacy_blend": SWITCH, "ignore_index": LABEL, "only": LABELS}),
    (compare, {**BOTH, "palette": PALETTE}, {"alpha": SHARE, "ignore_index": LABEL, "titles": SWITCH}),
    (confidence_map, {"image": IMAGE, "confidence": np.full((16, 16), 0.5)}, {"alpha": SHARE}),
    (contours, PICTURE, {"thickness": COUNT, "ignore_index": LABEL, "only": LABELS}),
    (error_map, BOTH, {"alpha": SHARE, "ignore_index": LABEL}),
    (feature_map, LAYERS, {"alpha": SHARE}),
    (feature_map, {"featmap": LAYERS["featmap"]}, {"resize_shape": {"None", "list"}}),
    (feature_map, {**LAYERS, "channel_reduction": None, "topk": 2}, {"arrangement": {"list"}}),
    (feature_map, {**LAYERS, "featmap": LAYERS["featmap"][:3], "channel_reduction": None}, {"topk": {"-1", *WHOLE}}),
    (get_palette, {"palette": "distinct"}, {"count": COUNT}),
    (legend, NAMED, {"columns": COUNT}),
    (overlay, PICTURE, {"alpha": SHARE, "ignore_index": LABEL, "with_labels": SWITCH, "only": LABELS}),
    (panels, {"pictures": [IMAGE, IMAGE]}, {"columns": {"None", *COUNT}, "gap": WHOLE}),
    (WandbVisBackend, {"save_dir": "here"}, {"commit": {"None", *SWITCH}, "native_masks": SWITCH}),
    (to_rgb, CHANNELS, {"bands": {"None", "-1", "0", "1", "int64"}, "stretch": {"None", "list"}}),
]  # fmt: skip
ROWS = [(kind, base, name, works) for kind, base, table in CASES for name, works in table.items()]


@pytest.mark.parametrize(("kind", "base", "name", "works"), ROWS, ids=[f"{row[0].__name__}-{row[2]}" for row in ROWS])
def test_a_number_works_or_is_refused_by_name(
    check: Callable[..., None], kind: Callable[..., Any], base: dict[str, Any], name: str, works: set[str]
) -> None:
    for word, value in VALUES.items():
        check(word in works, word, name, lambda value=value: kind(**{**base, name: value}))  # type: ignore[misc]


def test_the_size_of_letters() -> None:
    assert legend(**NAMED, size=6).shape[0] < legend(**NAMED, size=30).shape[0]
    for size in (5, 0, -1, math.nan, 10**30, "16", None):
        with pytest.raises((TypeError, ValueError), match="size must be"):
            legend(**NAMED, size=size)  # type: ignore[arg-type]


def test_no_number_of_a_public_name_is_forgotten() -> None:
    tested = {(row[0].__name__, row[2]) for row in ROWS} | {("legend", "size")}
    for kind in (getattr(seg_vis, name) for name in seg_vis.__all__ if name != "__version__"):
        for each in inspect.signature(kind).parameters.values():
            if any(word in str(each.annotation) for word in ("int", "float", "bool")):
                assert (kind.__name__, each.name) in tested, each


PLACE = np.array([[3.0, 4.0]])
WIDTHS = {"0", "0.5", "1.5", *COUNT}
DRAWN: list[tuple[str, dict[str, Any], str, set[str]]] = [
    ("draw_points", {"positions": PLACE}, "sizes", {"None", *WIDTHS}),
    ("draw_texts", {"texts": "a", "positions": PLACE}, "font_sizes", {"None", "1.5", *COUNT}),
    ("draw_lines", {"x_datas": PLACE, "y_datas": PLACE}, "line_widths", WIDTHS),
    ("draw_circles", {"center": PLACE}, "radius", WIDTHS),
    *[("draw_circles", {"center": PLACE, "radius": 3.0}, *row) for row in (("line_widths", WIDTHS), ("alpha", SHARE))],
    ("draw_bboxes", {"bboxes": np.array([[1, 1, 9, 9]])}, "line_widths", WIDTHS),
    ("draw_bboxes", {"bboxes": np.array([[1, 1, 9, 9]])}, "alpha", SHARE),
    *[("draw_polygons", {"polygons": PLACE}, *row) for row in (("line_widths", WIDTHS), ("alpha", SHARE))],
    ("draw_binary_masks", {"binary_masks": np.ones((16, 16), bool)}, "alphas", SHARE),
    ("add_image", {"name": "a", "image": IMAGE}, "step", {"-1", "True", *WHOLE}),
    ("add_scalar", {"name": "a", "value": 1}, "step", {"-1", "True", *WHOLE}),
    ("add_scalars", {"scalar_dict": {"a": 1}}, "step", {"-1", "True", *WHOLE}),
]


def drawing() -> SegLocalVisualizer:
    visualizer = SegLocalVisualizer()
    visualizer.set_image(IMAGE.copy())
    return visualizer


@pytest.mark.parametrize(("method", "base", "name", "works"), DRAWN, ids=[f"{row[0]}-{row[2]}" for row in DRAWN])
def test_a_number_of_a_drawing_works_or_is_refused_by_name(
    check: Callable[..., None], method: str, base: dict[str, Any], name: str, works: set[str]
) -> None:
    """Beyond its limits OpenCV ended the process: a circle of radius 10 ** 15."""
    for word, value in VALUES.items():
        check(word in works, word, name, lambda value=value: getattr(drawing(), method)(**{**base, name: value}))  # type: ignore[misc]


def test_a_line_of_width_0_is_none() -> None:
    box = np.array([[2, 2, 9, 9]])
    assert not drawing().draw_bboxes(box, line_widths=0).get_image().any()
    assert drawing().draw_bboxes(box, line_widths=0, face_colors="r").get_image().any()


@pytest.mark.parametrize("far", [1e30, -1e30, 1e308])
def test_what_lies_far_away_is_drawn_as_far_as_it_is_inside(far: float) -> None:
    place, pair = np.array([[far, -far]]), np.array([[0.0, far]])
    drawing().draw_points(place).draw_points(place, marker="+").draw_texts("a", place, bboxes={"facecolor": "r"})
    drawing().draw_lines(pair, pair, line_styles=":").draw_circles(place, np.array([3.0]))
    drawing().draw_polygons(np.array([[0, 0], [far, 0], [0, far]]), face_colors="r", line_styles="--")


@pytest.mark.parametrize("wrong", [(0.5, 0.5, 0.5), (math.nan, 0, 0), (math.inf, 0, 0), (300, 0, 0), (-1, 0, 0)])
def test_a_colour_is_three_whole_numbers(wrong: Any) -> None:
    with pytest.raises(ValueError, match="a colour is a name, '#rrggbb' or three whole numbers from 0 to 255"):
        drawing().draw_points(PLACE, colors=wrong)


@pytest.mark.parametrize("palette", [5, [[0, 0, 0]], [[0, 0, 0]] * 4, [[0, 0]] * 3, [[0, 0, 256]] * 3, [[0.5] * 3] * 3])
def test_a_palette_has_a_colour_for_each_class(palette: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"palette|colours: there must be one colour a class"):
        SegLocalVisualizer(classes=("a", "b", "c"), palette=palette)
