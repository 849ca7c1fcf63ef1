"""What the visualization hook asks of the object that runs it: satisfied by shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["DrawsSamples", "HasShape", "Position", "TakesImages"]


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


class DrawsSamples(Protocol):
    """A visualizer that draws data samples."""

    @property
    def add_datasample(self) -> Callable[..., object]:
        """Draws one and sends the picture on."""


class TakesImages(Protocol):
    """A backend that keeps pictures."""

    def add_image(self, name: str, image: NDArray[np.uint8], step: int = 0) -> object:
        """Keep an H x W x 3 uint8 RGB picture."""


class HasShape(Protocol):
    """An array or a tensor of any library."""

    @property
    def shape(self) -> Sequence[int]:
        """Its sides."""
