"""Wrappers of a model: DDP, torch.compile and their like."""

from __future__ import annotations

from torch import nn

__all__ = ["unwrapped"]


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DDP, torch.compile and other wrappers that call it `module` or `_orig_mod`."""
    while True:
        wraps = isinstance(model, nn.DataParallel) or type(model).__name__ in WRAPPERS
        inner = getattr(model, "module" if wraps else "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


WRAPPERS = frozenset(
    {
        "DistributedDataParallel",
        "MMDistributedDataParallel",
        "MMDataParallel",
        "FullyShardedDataParallel",
        "ModelWrapper",
    }
)
