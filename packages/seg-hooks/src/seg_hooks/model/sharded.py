"""Models of which each rank keeps a part (FSDP2): tensors made whole or taken as the part that is here; copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["copyable", "here", "is_sharded", "made_whole", "without_hooks"]


def is_sharded(tensor: object) -> bool:
    """Tell whether this rank may hold only a part of a tensor."""
    return hasattr(tensor, "full_tensor")


def made_whole(tensor: Any) -> Any:
    """Return a tensor with all its parts; called by all ranks alike."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


@torch.no_grad()
def here(tensor: Any) -> Tensor:
    """Return the part of a tensor that this rank has, in the same memory; a whole tensor as it is."""
    found: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return found


def _state(module: nn.Module) -> object:
    """Return what FSDP2 keeps for a module that it gathers; None for all others."""
    find = getattr(module, "_get_fsdp_state", None)
    return None if find is None else find()


@contextmanager
def copyable(model: nn.Module) -> Iterator[dict[int, Any]]:
    """Let a model be copied meanwhile, which the classes that FSDP2 gives modules refuse.

    Yields:
        What a copy must share: the state that FSDP2 keeps.
    """
    changed = [(module, type(module), state) for module in model.modules() if (state := _state(module)) is not None]
    try:
        for module, kind, _ in changed:
            module.__class__ = kind.__mro__[2]  # the class of the model's author
        yield {id(state): state for *_, state in changed}
    finally:
        for module, kind, _ in changed:
            module.__class__ = kind


def without_hooks(copied: nn.Module, states: dict[int, Any]) -> nn.Module:
    """Return a copy that gathers nothing: what it holds is written and read, not called."""
    for module in copied.modules() if states else ():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if id(getattr(hook, "__self__", None)) in states]:
                del hooks[key]
    return copied
