"""NeptuneVisBackend: only a name, for configs that still have it."""

from __future__ import annotations

from seg_vis.backends.base import BaseVisBackend

__all__ = ["NeptuneVisBackend"]


class NeptuneVisBackend(BaseVisBackend):
    """Cannot be made: Neptune's service has ended.

    Raises:
        ValueError: always; the message names the backends to take instead.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ValueError("Neptune's service has ended: take LocalVisBackend, WandbVisBackend or MLflowVisBackend")
