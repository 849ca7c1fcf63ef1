"""The street scenes as a data set: what `seg_engine.data.datasets` needs to know about them."""

from __future__ import annotations

from typing import Any, ClassVar

from seg_engine.data.datasets import BaseSegDataset
from seg_engine.demo.canvas import CLASSES, PALETTE

__all__ = ["StreetScenesDataset"]


class StreetScenesDataset(BaseSegDataset):
    """The demo's street scenes: eight classes, border pixels 255."""

    METAINFO: ClassVar[dict[str, Any]] = {"classes": CLASSES, "palette": [list(colour) for colour in PALETTE]}

    def __init__(self, img_suffix: str = ".png", seg_map_suffix: str = ".png", **options: Any) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **options)
