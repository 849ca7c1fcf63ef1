"""Data sets, reading and transforms; the data sets are found here, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg_engine.data.datasets import (
        ADE20KDataset,
        BaseSegDataset,
        CityscapesDataset,
        LoveDADataset,
        PascalVOCDataset,
    )

__all__ = ["ADE20KDataset", "BaseSegDataset", "CityscapesDataset", "LoveDADataset", "PascalVOCDataset"]


def __getattr__(name: str) -> Any:
    """Look up a data set when it is used: the modules of this folder, and so `seg --help`, wait for no torch."""
    if name in __all__:
        from seg_engine.data import datasets

        return getattr(datasets, name)
    raise AttributeError(f"module 'seg_engine.data' has no attribute {name!r}")
