"""The five packages together: the command line `seg`, ready-made data and models, and the demo."""

from __future__ import annotations

from seg_engine.__about__ import __version__

__all__ = ["__version__"]
