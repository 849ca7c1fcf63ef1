"""torchvision, imported also where its compiled operators were built for another torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


def import_torchvision() -> list[str]:
    """Import torchvision, also where its compiled operators do not load since they were built for another torch."""
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return []
    with _unknown_operators_skipped() as skipped:
        torchvision = importlib.import_module("torchvision")
    if not skipped:
        return []
    return [f"torchvision {torchvision.__version__} does not fit this torch: imported without its compiled operators"]


@contextmanager
def _unknown_operators_skipped() -> Iterator[list[str]]:
    """Let `torch.library.register_fake` pass over operators of torchvision that do not exist."""
    import torch

    real: Callable[..., Any] = torch.library.register_fake
    skipped: list[str] = []

    def register_fake(op: Any, *args: Any, **options: Any) -> Any:
        library, _, name = str(op).partition("::")
        if library != "torchvision" or hasattr(torch.ops.torchvision, name):
            return real(op, *args, **options)
        skipped.append(name)
        return lambda function: function

    torch.library.register_fake = register_fake
    try:
        yield skipped
    finally:
        torch.library.register_fake = real
