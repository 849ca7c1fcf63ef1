"""The face of `models/segmentor.py`: what other projects import."""

from __future__ import annotations

from seg_engine.models.head_loss import SegmentationLoss
from seg_engine.models.segmentor import Segmentor

__all__ = ["SegmentationLoss", "Segmentor"]
