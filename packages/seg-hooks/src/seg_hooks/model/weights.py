"""The weights of a model whatever is wrapped round it: unwrapping, clean names, loading."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["KeptBuffers", "clean_key", "clean_keys", "load_weights", "raw_weights", "unwrap", "weights_of"]

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


def clean_key(name: str) -> str:
    """Return a name of the state dict without what torch.compile adds."""
    return name.replace("_orig_mod.", "")


def clean_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under names without what torch.compile adds."""
    return {clean_key(name): value for name, value in state.items()}


def weights_of(model: nn.Module) -> dict[str, Any]:
    """Return the state dict of a model without the names that DDP and torch.compile add."""
    weights: dict[str, Any] = unwrap(model).state_dict()
    if not any("_orig_mod." in name for name in weights):
        return weights
    renamed = copy.copy(weights)
    for name in list(renamed):
        renamed[clean_key(name)] = renamed.pop(name)
    return renamed


def load_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load a state dict with clean names into a model, wrapped or not."""
    inner = unwrap(model)
    own = {clean_key(name): name for name in inner.state_dict()}
    if all(clean == name for clean, name in own.items()):
        inner.load_state_dict(weights)
    else:
        inner.load_state_dict({own.get(name, name): value for name, value in weights.items()})


def raw_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights that were being trained: beside an average they stand under `ema_state_dict`."""
    weights: dict[str, Any] = dict(checkpoint["state_dict"])
    for name, value in checkpoint.get("ema_state_dict", {}).items():
        if name.removeprefix("module.") in weights:
            weights[name.removeprefix("module.")] = value
    return weights


class KeptBuffers:
    """The floating-point buffers of a model as they were at one moment, also where it replaces them afterwards.

    Example:
        >>> net, kept = nn.BatchNorm1d(2), KeptBuffers()
        >>> kept.keep(net)
        >>> net.running_mean = torch.full((2,), float("nan"))
        >>> kept.put_back()
        >>> net.running_mean
        tensor([0., 0.])
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[nn.Module, str], tuple[Tensor | None, Tensor | None]] = {}

    def keep(self, model: nn.Module) -> None:
        """Remember which tensors the buffers are, and their values; the memory of the last call is used again."""
        before, self._kept = self._kept, {}
        for module in model.modules():
            for name, buffer in module._buffers.items():
                if buffer is None:
                    self._kept[module, name] = None, None
                elif buffer.is_floating_point():
                    values = before.get((module, name), (None, None))[1]
                    self._kept[module, name] = buffer, values if _alike(values, buffer) else torch.empty_like(buffer)
        _copy(self._kept.values(), lambda buffer, values: (values, buffer))

    def put_back(self) -> None:
        """Make the buffers these tensors again, with these values."""
        for (module, name), (buffer, _) in self._kept.items():
            if name in module._buffers:
                module._buffers[name] = buffer
        _copy(self._kept.values(), lambda buffer, values: (buffer, values))


def _alike(values: Tensor | None, buffer: Tensor) -> bool:
    if values is None:
        return False
    return (values.shape, values.dtype, values.device) == (buffer.shape, buffer.dtype, buffer.device)


def _copy(kept: Iterable[tuple[Tensor | None, Tensor | None]], direction: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Copy each pair in one call for all of them."""
    pairs = [direction(*each) for each in kept if each[0] is not None]
    if pairs:
        torch._foreach_copy_([to for to, _ in pairs], [source for _, source in pairs])
