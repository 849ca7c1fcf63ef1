"""Out of memory: recognising it, and a report of what took the memory and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from seg_runner.errors import add_note
from seg_runner.model.wrapping import unwrap
from seg_runner.process.device import memory_figures
from seg_runner.trees import tensors_of

__all__ = ["is_out_of_memory", "memory_by_module", "memory_report", "note_out_of_memory"]

_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "defaultcpuallocator")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the error says that memory ran out, on a device or in the main memory.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shape mismatch"))
    (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def note_out_of_memory(
    error: BaseException, model: nn.Module, batch: object, optim_wrapper: object = None, mode: str = "train"
) -> None:
    """Add the report to an error that says that memory ran out; does nothing to other errors."""
    if is_out_of_memory(error):
        add_note(error, memory_report(model, batch, optim_wrapper, mode=mode))


def memory_by_module(model: nn.Module, optimizer: object = None) -> dict[str, int]:
    """Return bytes of parameters, gradients, buffers and optimizer state by module (two levels), largest first.

    >>> memory_by_module(nn.Sequential(nn.Linear(1000, 1)))
    {'0': 4004}
    """
    state: Mapping[Any, Any] = getattr(optimizer, "state", {}) or {}
    found: dict[str, int] = {}
    net = unwrap(model)
    for name, parameter in net.named_parameters():
        held = [parameter, parameter.grad, *dict(state.get(parameter, {})).values()]
        _add(found, name, sum(one.nbytes for one in held if isinstance(one, torch.Tensor)))
    for name, buffer in net.named_buffers():
        _add(found, name, buffer.nbytes)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _add(found: dict[str, int], name: str, size: int) -> None:
    module = ".".join(name.split(".")[:-1][:2]) or "(the model itself)"
    found[module] = found.get(module, 0) + size


def memory_report(
    model: nn.Module, batch: object, optim_wrapper: object = None, limit: int = 5, mode: str = "train"
) -> str:
    """Say what took the memory, and what to change in `train`, `val` or `test`."""
    optimizer = getattr(optim_wrapper, "optimizer", optim_wrapper)
    by_module = memory_by_module(model, optimizer)
    lines = ["out of memory:"]
    lines.append(f"  held by the model, its gradients and the optimizer: {_mb(sum(by_module.values()))}")
    lines += [f"    {name}: {_mb(size)}" for name, size in list(by_module.items())[:limit]]
    lines.append(f"  batch: {_shapes(batch)}")
    lines.append(f"  peak: {_peak(unwrap(model))}")
    lines.append("  what to change, in this order:")
    lines += [f"    {advice}" for advice in _advice(batch, mode)]
    return "\n".join(lines)


def _mb(size: float) -> str:
    return f"{size / 2**20:.0f} MB"


def _images(batch: object) -> list[torch.Tensor]:
    if isinstance(batch, Mapping) and "inputs" in batch:
        batch = batch["inputs"]
    return tensors_of(batch)


def _shapes(batch: object) -> str:
    tensors = _images(batch)
    if not tensors:
        return "no tensors in it"
    shapes = [" x ".join(map(str, tensor.shape)) for tensor in tensors]
    return ", ".join(f"{shapes.count(shape)} of {shape}" for shape in dict.fromkeys(shapes))


def _peak(model: nn.Module) -> str:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    figures = memory_figures(device)
    if figures is not None:
        allocated, reserved, total = map(_mb, figures)
        return f"{allocated} in tensors, {reserved} reserved, of {total} on {device}"
    try:
        import resource
    except ImportError:
        return "unknown on this system"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB of main memory"


def _advice(batch: object, mode: str) -> list[str]:
    images = [tensor for tensor in _images(batch) if tensor.ndim >= 3]
    size = f" (now {images[0].shape[-2]} x {images[0].shape[-1]})" if images else ""
    if mode != "train":
        return [
            f"{mode}_dataloader.batch_size=1",
            f"model.test_cfg=dict(mode='slide', crop_size=..., stride=...): images in pieces{size}",
            f"{mode}_cfg.fp16=True: about half of the activations",
        ]
    return [
        "half of train_dataloader.batch_size, and optim_wrapper.accumulative_counts=2: the same step, except for the "
        "statistics of BatchNorm, which see smaller batches",
        "optim_wrapper.type='AmpOptimWrapper' with dtype='bfloat16': about half of the activations",
        "activation_checkpointing=[...names of the backbone's stages]: less memory for a third more time",
        f"a smaller crop_size{size}",
    ]
