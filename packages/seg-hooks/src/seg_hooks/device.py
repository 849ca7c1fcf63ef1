"""Accelerators, whichever torch reports: CUDA, MPS, XPU, or a plug-in's. No other module names a kind of device."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

__all__ = [
    "accelerator",
    "empty_cache",
    "peak_memory",
    "random_states",
    "restore_random_states",
    "send_to_host",
    "widest_float",
]

OLDER = ("cuda", "xpu", "mps")  # asked in this order where torch has no `torch.accelerator` (before 2.6)


@cache  # asked at every log point; what a process sees does not change
def accelerator() -> str | None:
    """Return the type of the accelerator that torch sees, such as 'cuda' or 'mps'; None where there is only the CPU.

    >>> accelerator() is None or isinstance(accelerator(), str)
    True
    """
    found = getattr(torch, "accelerator", None)
    if found is not None:
        return str(found.current_accelerator().type) if found.is_available() else None
    return next(filter(_sees, OLDER), None)


def _sees(kind: str) -> bool:
    """Tell whether torch sees one of a kind; before 2.6 not `torch.mps` but `torch.backends.mps` can tell."""
    module = getattr(torch, kind)
    return bool((module if hasattr(module, "is_available") else getattr(torch.backends, kind)).is_available())


def _in_use() -> Any:
    """Return the accelerator's module where something ran on it already; asking starts nothing."""
    kind = accelerator()
    module = None if kind is None else getattr(torch, kind, None)
    started = getattr(module, "is_initialized", None)  # MPS has no such state: it is always ready
    return module if started is None or started() else None


def peak_memory() -> float | None:
    """Return the most memory, in MB, that tensors took on the accelerator so far; None where it is not counted."""
    module = _in_use()
    return module.max_memory_allocated() / 2**20 if hasattr(module, "max_memory_allocated") else None


def empty_cache() -> None:
    """Give memory back that the accelerator's allocator keeps; without an accelerator nothing is done."""
    module = _in_use()
    if hasattr(module, "empty_cache"):
        module.empty_cache()


def random_states() -> list[torch.Tensor]:
    """Return the states of the generators of the accelerators in use, for `restore_random_states`."""
    module = _in_use()
    if module is None:
        return []
    every = getattr(module, "get_rng_state_all", None)
    return list(every()) if every is not None else [module.get_rng_state()]


def restore_random_states(states: list[torch.Tensor]) -> None:
    """Put the generators back to where they stood, where there are as many devices as then."""
    kind = accelerator()
    if not states or kind is None:
        return
    module = getattr(torch, kind)
    count = module.device_count() if hasattr(module, "device_count") else 1
    if count != len(states):
        return
    if hasattr(module, "set_rng_state_all"):
        module.set_rng_state_all(states)
    else:
        module.set_rng_state(states[0])


def widest_float(device: torch.device) -> torch.dtype:
    """Return the floating type with the most digits that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no doubles


def send_to_host(value: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Send a tensor to main memory; return it and the event that says that it has arrived.

    The event is None where nothing travels beside the computation: then the value is read where it lies.
    """
    event = getattr(getattr(torch, value.device.type, None), "Event", None)
    if value.device.type == "cpu" or event is None or not _can_pin(value.device.type):
        return value, None
    host = torch.empty((), dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    sent = event()
    sent.record()
    return host, sent


@cache
def _can_pin(kind: str) -> bool:
    """Tell whether main memory can be pinned for copies beside computation."""
    try:
        return bool(torch.empty(1, pin_memory=True).is_pinned())
    except RuntimeError:  # torch's word for a device that has no such memory
        return False
