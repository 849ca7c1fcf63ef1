"""MMSegmentation's own models and data sets, trained here: what its import needs where mmcv is not compiled."""

from seg_engine.mmseg.imports import prepare, prepare_for

__all__ = ["prepare", "prepare_for"]
