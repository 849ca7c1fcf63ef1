"""Wrappers of a model: DDP, FSDP, torch.compile and their like."""

from __future__ import annotations

from torch import nn

__all__ = ["WRAPPERS", "unwrap"]

WRAPPERS = frozenset(
    {
        "AveragedModel",
        "BaseAveragedModel",
        "DistributedDataParallel",
        "FullyShardedDataParallel",
        "MMDataParallel",
        "MMDistributedDataParallel",
        "ModelWrapper",
    }
)
"""Classes that hold the model as `module`, by name: some of them are not installed, or are not torch's."""


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model itself, out of DDP, FSDP, `torch.compile`, averages and other wrappers, however nested.

    >>> net = nn.Linear(1, 1)
    >>> unwrap(nn.DataParallel(net)) is net
    True
    """
    while True:
        wraps = isinstance(model, nn.DataParallel) or not WRAPPERS.isdisjoint(k.__name__ for k in type(model).__mro__)
        inner = getattr(model, "module" if wraps else "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner
