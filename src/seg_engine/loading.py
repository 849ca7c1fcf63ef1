"""The face of `data/loading.py`: what other projects import."""

from __future__ import annotations

from seg_engine.data.loading import LoadAnnotations, LoadImageFromFile, PackSegInputs

__all__ = ["LoadAnnotations", "LoadImageFromFile", "PackSegInputs"]
