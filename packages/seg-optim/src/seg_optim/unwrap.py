"""Wrappers of a model: DDP, FSDP, torch.compile and their like."""

from __future__ import annotations

from torch import nn

__all__ = ["WRAPPERS", "unwrap"]

WRAPPERS = ("DataParallel", "AveragedModel", "ModelWrapper")
"""How the names of classes end that hold the model as `module`: DDP, FSDP, averages, MMEngine's, and what inherits."""


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model itself, out of DDP, FSDP, `torch.compile`, averages and other wrappers, however nested.

    >>> net = nn.Linear(1, 1)
    >>> unwrap(nn.DataParallel(net)) is net
    True
    """
    while True:
        wraps = any(kind.__name__.endswith(WRAPPERS) for kind in type(model).__mro__) and _holds_one_module(model)
        inner = getattr(model, "module" if wraps else "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _holds_one_module(model: nn.Module) -> bool:
    """Tell whether all weights lie in one part: a net called so that has a head beside its `module` is no wrapper."""
    return len(model._modules) == 1 and not model._parameters
