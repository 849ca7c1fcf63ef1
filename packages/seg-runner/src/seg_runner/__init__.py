"""The training loop for segmentation models: exact resume, crash-safe checkpoints, with or without a config."""

from __future__ import annotations

from seg_runner.__about__ import __version__

__all__ = ["__version__"]
