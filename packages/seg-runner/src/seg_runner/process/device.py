"""Accelerators, whichever torch reports: CUDA, MPS, XPU, or a plug-in's. No other module names a kind of device."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch

__all__ = [
    "accelerator",
    "can_pin",
    "current_stream",
    "device_facts",
    "first_device",
    "graphs_of",
    "has_sync_batch_norm",
    "is_accelerator",
    "memory_figures",
    "module_of",
    "on_stream",
    "peak_memory",
    "pick_device",
    "random_states",
    "restore_random_states",
    "seed_accelerator",
    "stream_of",
    "synchronize",
]

OLDER = ("cuda", "xpu", "mps")  # asked in this order where torch has no `torch.accelerator` (before 2.6)


@cache  # asked at every step; what a process sees does not change
def accelerator() -> str | None:
    """Return the type of the accelerator that torch sees here, such as 'cuda' or 'mps'; None without one.

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


def is_accelerator(device: torch.device | str) -> bool:
    """Tell whether tensors on this device lie apart from main memory, so that copies and waits count.

    >>> is_accelerator("cpu"), is_accelerator("cuda:1")
    (False, True)
    """
    return torch.device(device).type not in ("cpu", "meta")


def module_of(device: torch.device | str) -> Any:
    """Return what torch offers for a kind of accelerator (`torch.cuda`, `torch.mps`, ...); None for the CPU."""
    return getattr(torch, torch.device(device).type, None) if is_accelerator(device) else None


def graphs_of(device: torch.device | str) -> Any:
    """Return the module of torch that captures graphs on a device (`CUDAGraph`, `graph`); None where nothing does.

    >>> graphs_of("cpu") is None
    True
    """
    return torch.cuda if torch.device(device).type == "cuda" else None


def _in_use() -> Any:
    """Return the accelerator's module where something ran on it already; asking starts nothing."""
    kind = accelerator()
    module = None if kind is None else module_of(kind)
    started = getattr(module, "is_initialized", None)  # MPS has no such state: it is always ready
    return module if started is None or started() else None


def pick_device(name: str | None = None, index: int = 0) -> torch.device:
    """Return the named device, else the accelerator that torch reports, else the CPU.

    Args:
        name: Such as 'cuda:1'; a kind alone ('cuda') is the device of that index, where there are several processes.
        index: Which of the devices that this process sees is its own; 0: the current one.

    Raises:
        ValueError: torch knows no such device, or sees none.
    """
    if name is not None and not (index and name == accelerator()):
        return _found_device(name)
    kind = accelerator()
    if kind is None:
        return torch.device("cpu")
    if index:
        return _own_device(kind, index)
    current = getattr(module_of(kind), "current_device", None)
    return torch.device(kind) if current is None else torch.device(kind, current())


def _own_device(kind: str, index: int) -> torch.device:
    """Return the device of one of several processes on this machine, and make it the current one."""
    device = torch.device(kind, index)
    if index >= (count := _count(device)):
        raise ValueError(
            f"this is process {index + 1} on this machine, and torch sees {count} {kind} devices here: start as "
            f"many processes as there are devices (torchrun --nproc-per-node={count}), or train with device='cpu'"
        )
    choose = getattr(module_of(device), "set_device", None)
    if choose is not None:
        choose(device)
    return device


def _found_device(name: str) -> torch.device:
    known = ", ".join(repr(each) for each in ("cpu", accelerator() or "cuda"))
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={name!r} is no device of torch's; use {known}, or leave it out") from error
    if device.type == "meta":
        raise ValueError(f"device='meta' holds no numbers, so nothing can be trained there: use {known}")
    if is_accelerator(device) and (device.index or 0) >= (count := _count(device)):
        kind = {"cuda": "CUDA", "mps": "MPS", "xpu": "XPU"}.get(device.type, device.type)
        seen = f"{count} {kind} devices" if count else f"no {kind} device"
        raise ValueError(
            f"device={name!r}, but torch {torch.__version__} sees {seen} here: leave device out, or use {known}"
        )
    return device


def first_device() -> str:
    """Return a name of the first accelerator that this process sees, the same in all that see it; empty without one.

    The number alone does not tell: a launcher may show each process a device of its own, as number 0.
    """
    kind = accelerator()
    if kind is None:
        return ""
    facts = getattr(module_of(kind), "get_device_properties", None)
    own = getattr(facts(0), "uuid", None) if facts is not None else None  # not before torch 2.5
    return str(own or os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or kind)


def _count(device: torch.device) -> int:
    """Count the devices of this kind that torch sees."""
    module = module_of(device)
    if module is None or not _sees(device.type):
        return 0
    count = getattr(module, "device_count", None)
    return 1 if count is None else int(count())


def seed_accelerator(seed: int) -> None:
    """Seed the generators of all accelerators that are in use; without one nothing is done."""
    module = _in_use()
    if module is not None:
        (getattr(module, "manual_seed_all", None) or module.manual_seed)(seed)


def random_states() -> list[torch.Tensor]:
    """Return where the generators of the accelerators in use stand, for `restore_random_states`."""
    module = _in_use()
    if module is None:
        return []
    every = getattr(module, "get_rng_state_all", None)
    return list(every()) if every is not None else [module.get_rng_state()]


def restore_random_states(states: list[torch.Tensor]) -> None:
    """Put the generators back to where they stood."""
    if not states:
        return
    module = _in_use()
    every = getattr(module, "set_rng_state_all", None)
    if every is not None:
        every(states)
    else:
        module.set_rng_state(states[0])


def synchronize() -> None:
    """Wait for everything that the accelerator in use was asked for."""
    module = _in_use()
    if module is not None:
        module.synchronize()


def peak_memory() -> int | None:
    """Return the most memory, in MB, that tensors took on the accelerator since the last call, or None."""
    module = _in_use()
    if not hasattr(module, "max_memory_allocated"):
        return None
    peak = module.max_memory_allocated() // (1024 * 1024)
    module.reset_peak_memory_stats()
    return int(peak)


def memory_figures(device: torch.device) -> tuple[int, int, int] | None:
    """Return bytes in tensors at the most, bytes reserved at the most, bytes of the device, or None."""
    module = module_of(device)
    if not hasattr(module, "max_memory_reserved"):
        return None
    total = int(module.get_device_properties(device).total_memory)
    return int(module.max_memory_allocated(device)), int(module.max_memory_reserved(device)), total


@cache
def can_pin(kind: str) -> bool:
    """Tell whether main memory can be pinned for copies beside computation to this kind of device."""
    if not is_accelerator(kind):
        return False
    try:
        return bool(torch.empty(1, pin_memory=True).is_pinned())
    except RuntimeError:  # torch's word for a device that has no such memory
        return False


def stream_of(device: torch.device) -> Any:
    """Return a stream of its own for copies to a device; None where the device has no streams (CPU, MPS)."""
    made = getattr(module_of(device), "Stream", None)
    return None if made is None else made(device)


def on_stream(device: torch.device, stream: object) -> AbstractContextManager[Any]:
    """Send the device's work to this stream, within this context (None: where it goes anyway)."""
    return nullcontext() if stream is None else module_of(device).stream(stream)


def current_stream(device: torch.device) -> Any:
    """Return the stream that computes on a device."""
    return module_of(device).current_stream(device)


def has_sync_batch_norm(device: torch.device) -> bool:
    """Tell whether torch's own SyncBatchNorm runs on a device; elsewhere it raises."""
    return device.type == "cuda"


def device_facts(device: torch.device) -> dict[str, str]:
    """Return name and driver versions of a device, as the first lines of a log show them."""
    facts = {}
    name = getattr(module_of(device), "get_device_name", None)
    if name is not None:
        facts["GPU"] = str(name(device))
    if device.type == "cuda":
        facts["CUDA"] = str(torch.version.cuda or torch.version.hip)
        facts["cuDNN"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return facts
