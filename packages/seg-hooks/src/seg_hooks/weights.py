"""The weights of a model whatever is wrapped round it: unwrapping, clean names, loading."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = ["clean_key", "clean_keys", "load_weights", "raw_weights", "unwrap", "weights_of"]

PARALLEL = (DataParallel, DistributedDataParallel)


def unwrap(model: Any) -> Any:
    """The module inside torch.compile, DDP and the like."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and (isinstance(model, PARALLEL) or type(model).__name__.endswith("DataParallel")):
            inner = model.module
        if inner is None:
            return model
        model = inner


def clean_key(name: str) -> str:
    """A name of the state dict without what torch.compile adds."""
    return name.replace("_orig_mod.", "")


def clean_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under names without what torch.compile adds."""
    return {clean_key(name): value for name, value in state.items()}


def weights_of(model: Any) -> dict[str, Any]:
    """The state dict of a model without the names that DDP and torch.compile add."""
    weights: dict[str, Any] = unwrap(model).state_dict()
    if not any("_orig_mod." in name for name in weights):
        return weights
    renamed = copy.copy(weights)
    for name in list(renamed):
        renamed[clean_key(name)] = renamed.pop(name)
    return renamed


def load_weights(model: Any, weights: Mapping[str, Any]) -> None:
    """Load a state dict with clean names into a model, wrapped or not."""
    inner = unwrap(model)
    own = {clean_key(name): name for name in inner.state_dict()}
    if all(clean == name for clean, name in own.items()):
        inner.load_state_dict(weights)
    else:
        inner.load_state_dict({own.get(name, name): value for name, value in weights.items()})


def raw_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that were being trained: where an average was saved, those stand under `ema_state_dict`."""
    weights: dict[str, Any] = dict(checkpoint["state_dict"])
    for name, value in checkpoint.get("ema_state_dict", {}).items():
        if name.removeprefix("module.") in weights:
            weights[name.removeprefix("module.")] = value
    return weights
