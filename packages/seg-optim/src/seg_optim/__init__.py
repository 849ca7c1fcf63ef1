"""Optimizer wrappers, parameter-group rules, layer-wise learning-rate decay and schedules that do what the config says."""

from __future__ import annotations

from seg_optim.__about__ import __version__

__all__ = ["__version__"]
