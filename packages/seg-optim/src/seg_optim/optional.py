"""Optimizers of other libraries by name: imported when one is asked for, with a word on what to install."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

__all__ = [
    "Adam8bit",
    "AdamW8bit",
    "DAdaptAdaGrad",
    "DAdaptAdam",
    "DAdaptSGD",
    "Lion",
    "Lion8bit",
    "PagedAdamW8bit",
    "Prodigy",
    "SGD8bit",
    "zero_redundancy",
]


def _from(library: str, name: str, distribution: str) -> Callable[..., Optimizer]:
    def make(params: Any, **options: Any) -> Optimizer:
        try:
            module = importlib.import_module(library)
        except ImportError as error:
            raise ImportError(f"the optimizer {name} needs `pip install {distribution}`") from error
        optimizer: Optimizer = getattr(module, name)(params, **options)
        return optimizer

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"{name} of {distribution}."
    return make


Adam8bit = _from("bitsandbytes.optim", "Adam8bit", "bitsandbytes")
AdamW8bit = _from("bitsandbytes.optim", "AdamW8bit", "bitsandbytes")
PagedAdamW8bit = _from("bitsandbytes.optim", "PagedAdamW8bit", "bitsandbytes")
Lion8bit = _from("bitsandbytes.optim", "Lion8bit", "bitsandbytes")
SGD8bit = _from("bitsandbytes.optim", "SGD8bit", "bitsandbytes")
DAdaptAdaGrad = _from("dadaptation", "DAdaptAdaGrad", "dadaptation")
DAdaptAdam = _from("dadaptation", "DAdaptAdam", "dadaptation")
DAdaptSGD = _from("dadaptation", "DAdaptSGD", "dadaptation")
Lion = _from("lion_pytorch", "Lion", "lion-pytorch")
Prodigy = _from("prodigyopt", "Prodigy", "prodigyopt")


def zero_redundancy(params: Any, optimizer_type: str | type[Optimizer] | None = None, **options: Any) -> Optimizer:
    """`ZeroRedundancyOptimizer(optimizer_type='AdamW', ...)`: the optimizer's state shared out over the ranks."""
    import torch

    kind = getattr(torch.optim, optimizer_type, None) if isinstance(optimizer_type, str) else optimizer_type
    if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
        raise ValueError(
            f"optim_wrapper.optimizer.optimizer_type={optimizer_type!r}: ZeroRedundancyOptimizer needs the name of one "
            "of torch.optim, such as 'AdamW', or a class"
        )
    from torch.distributed.optim import ZeroRedundancyOptimizer

    optimizer: Optimizer = ZeroRedundancyOptimizer(list(params), kind, **options)
    return optimizer
