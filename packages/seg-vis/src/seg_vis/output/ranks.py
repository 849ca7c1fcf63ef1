"""Which process of a distributed run draws and writes: the first."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["first_process", "first_process_only"]

Method = TypeVar("Method", bound=Callable[..., Any])


def first_process() -> bool:
    """Tell whether this is rank 0, or nothing is distributed; torch is looked at only if somebody imported it."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return os.environ.get("RANK", "0") == "0"


def first_process_only(method: Method) -> Method:
    """Do nothing on other ranks; methods that return the object itself still do, so that calls can be chained."""

    @functools.wraps(method)
    def guarded(self: object, *args: object, **kwargs: object) -> Any:
        if first_process():
            return method(self, *args, **kwargs)
        return self if method.__name__.startswith("draw_") else None

    return guarded  # type: ignore[return-value]
