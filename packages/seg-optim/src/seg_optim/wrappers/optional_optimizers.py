"""Optimizers of other libraries by name: imported when one is asked for, with a word on what to install.

The names are those that MMEngine registers where the libraries are installed: what bitsandbytes calls like one of
torch's, or like Lion, has `bnb_` before it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from torch.optim import Optimizer

__all__ = ["BITSANDBYTES", "LIBRARIES", "zero_redundancy"]

BITSANDBYTES = (
    "AdEMAMix", "Adagrad", "Adam", "AdamW", "LAMB", "LARS", "Lion", "PagedAdEMAMix", "PagedAdam", "PagedAdamW",
    "PagedLion", "RMSprop", "SGD",
)  # fmt: skip
"""Each also with `32bit` and `8bit` after it."""
TAKEN = ("Adagrad", "Adam", "AdamW", "Lion", "RMSprop", "SGD")
LIBRARIES: dict[str, tuple[str, str, str]] = {
    "DAdaptAdaGrad": ("dadaptation", "DAdaptAdaGrad", "dadaptation"),
    "DAdaptAdam": ("dadaptation", "DAdaptAdam", "dadaptation"),
    "DAdaptSGD": ("dadaptation", "DAdaptSGD", "dadaptation"),
    "Lion": ("lion_pytorch", "Lion", "lion-pytorch"),
    "Prodigy": ("prodigyopt", "Prodigy", "prodigyopt"),
} | {
    f"bnb_{name}" if name in TAKEN else name: ("bitsandbytes.optim", name, "bitsandbytes")
    for name in (*(kind + bits for kind in BITSANDBYTES for bits in ("", "32bit", "8bit")), "PytorchLARS")
}
"""Name in configs -> module, name in it, and what to install."""


def __getattr__(name: str) -> Callable[..., Optimizer]:
    """Return what the entry points ask for: a function that makes the optimizer called `name`."""
    if name not in LIBRARIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    library, attribute, distribution = LIBRARIES[name]

    def make(params: Iterable[object], **options: object) -> Optimizer:
        try:
            module = importlib.import_module(library)
        except ImportError as error:
            raise ImportError(f"the optimizer {name} needs `pip install {distribution}`") from error
        optimizer: Optimizer = getattr(module, attribute)(params, **options)
        return optimizer

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"{attribute} of {distribution}."
    return make


def __dir__() -> list[str]:
    """Return all names, also those of libraries that are not installed."""
    return sorted({*globals(), *LIBRARIES})


def zero_redundancy(
    params: Iterable[Any], optimizer_type: str | type[Optimizer] | None = None, **options: Any
) -> Optimizer:
    """Make `ZeroRedundancyOptimizer(optimizer_type='AdamW', ...)`, whose state is shared out over the ranks.

    Args:
        params: The model's parameters, or groups of them.
        optimizer_type: The optimizer that each rank has for its share: a name of `torch.optim`, or a class.
    """
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
