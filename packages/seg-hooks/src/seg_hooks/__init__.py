"""EMA, checkpoints, early stopping, logging and the other training hooks, in anybody's loop."""

from __future__ import annotations

from seg_hooks.__about__ import __version__

__all__ = ["__version__"]
