"""What the visualization hook asks of the object that runs it: satisfied by shape."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Position"]


class Position(Protocol):
    """Where the run stands and where its pictures go."""

    @property
    def iter(self) -> int:
        """Finished iterations; 0 where nothing is trained (reading it builds nothing)."""

    @property
    def visualizer(self) -> Any:
        """Has `add_datasample`."""

    @property
    def logger(self) -> Any:
        """A `logging.Logger`."""
