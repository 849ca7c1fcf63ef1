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
