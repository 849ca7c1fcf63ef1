"""Segmentation pictures, right to the pixel, and where to send them: files, TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

from seg_vis.__about__ import __version__

__all__ = ["__version__"]
