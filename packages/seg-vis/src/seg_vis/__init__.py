"""Segmentation pictures, right to the pixel, and where to send them: files, TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

from seg_vis.__about__ import __version__
from seg_vis.arrays import to_rgb
from seg_vis.backends import (
    BaseVisBackend,
    LocalVisBackend,
    MLflowVisBackend,
    TensorboardVisBackend,
    WandbVisBackend,
)
from seg_vis.drawing.feature_maps import feature_map
from seg_vis.drawing.legends import legend
from seg_vis.drawing.maps import confidence_map, contours, error_map
from seg_vis.drawing.overlays import overlay
from seg_vis.drawing.palettes import get_classes, get_palette
from seg_vis.drawing.sheets import compare, panels
from seg_vis.hook import SegVisualizationHook
from seg_vis.segmentation_visualizer import SegLocalVisualizer
from seg_vis.visualizer import Visualizer

__all__ = [
    "BaseVisBackend",
    "LocalVisBackend",
    "MLflowVisBackend",
    "SegLocalVisualizer",
    "SegVisualizationHook",
    "TensorboardVisBackend",
    "Visualizer",
    "WandbVisBackend",
    "__version__",
    "compare",
    "confidence_map",
    "contours",
    "error_map",
    "feature_map",
    "get_classes",
    "get_palette",
    "legend",
    "overlay",
    "panels",
    "to_rgb",
]
