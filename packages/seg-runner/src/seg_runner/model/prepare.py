"""What is done to a model before it is trained: its own initialisation, memory layout, activation checkpointing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from seg_runner.errors import did_you_mean
from seg_runner.model.wrapping import unwrap

__all__ = ["checkpoint_activations", "init_weights", "modules_named", "use_channels_last"]


def init_weights(model: nn.Module) -> None:
    """Let the model initialise itself, if it knows how (MMEngine's models do)."""
    own = getattr(unwrap(model), "init_weights", None)
    if callable(own):
        own()


def use_channels_last(model: nn.Module) -> nn.Module:
    """Lay 4-dimensional weights out channels-last; convolutions then keep that layout for their outputs."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def checkpoint_activations(model: nn.Module, names: str | Iterable[str]) -> list[str]:
    """Let the backward pass compute the activations inside the named modules again, so that they are not kept.

    Args:
        model: The model; its state dict keeps its keys.
        names: Module names, or patterns with `*` (`backbone.stages.*`).

    Returns:
        The names of the modules that were found.

    Raises:
        ValueError: a name or pattern matches no module.
    """
    found = modules_named(model, names, "activation_checkpointing")
    for module in found.values():
        module.forward = partial(_recompute, module.forward)
    return list(found)


def modules_named(model: nn.Module, names: str | Iterable[str], key: str) -> dict[str, nn.Module]:
    """Return the modules that names, or patterns with `*`, stand for, by their names.

    Raises:
        ValueError: a name or pattern of this config key matches no module.
    """
    modules = {name: module for name, module in unwrap(model).named_modules() if name}
    found: dict[str, nn.Module] = {}
    for pattern in [names] if isinstance(names, str) else list(names):
        matched = [name for name in modules if fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            raise ValueError(f"{key}: no module is called {pattern!r}.{did_you_mean(pattern, modules)}")
        found |= {name: modules[name] for name in matched}
    return found


def _recompute(forward: Callable[..., Any], *args: object, **kwargs: Any) -> Any:
    """Run a module's forward without keeping its activations, where there will be a backward pass."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
