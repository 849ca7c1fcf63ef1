"""Watch: whether the optimizer still holds what the model trains. Seg-optim's wrappers have one of their own."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import torch

from seg_runner.model.wrapping import unwrap

__all__ = ["Watch"]


class Watch:
    """Names parameters that learn and that the optimizer does not hold, each once.

    What the optimizer leaves out while it holds another part of the model is its owner's choice. Where it holds all
    that learns, what learns only later is told, and where it holds tensors that the model has no more, all is.
    """

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model = unwrap(model)
        self._model, self._optimizer = weakref.ref(model), optimizer
        own = {id(parameter) for parameter in model.parameters()}
        known = [id(p) in own for group in optimizer.param_groups for p in group["params"]]
        learns = {name for name, parameter in self._outside().items() if parameter.requires_grad}
        replaced = any(known) and not all(known)
        self._told = set(self._outside()) if learns and not replaced else set()

    def look(self) -> None:
        """Log a line with the names."""
        outside = self._outside().items()
        names = [name for name, parameter in outside if parameter.requires_grad and name not in self._told]
        self._told.update(names)
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            logging.getLogger("seg_runner").warning(
                "not trained: %s%s. These were replaced, added or unfrozen after the optimizer was built, so it does "
                "not know them. Change the model before the optimizer is built, set new values in place "
                "(parameter.data.copy_(...)), or add them to the optimizer: parameter.grad = None, which drops the "
                "gradients summed up since then, and then optimizer.add_param_group(...)",
                ", ".join(names[:5]), more,
            )  # fmt: skip

    def _outside(self) -> dict[str, torch.nn.Parameter]:
        model = self._model()
        held = {id(parameter) for group in self._optimizer.param_groups for parameter in group["params"]}
        named = [] if model is None else model.named_parameters()
        return {name: parameter for name, parameter in named if id(parameter) not in held}

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Copy nothing: a copy of a wrapper watches nothing: its model is another one."""

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Pickle nothing, for the same reason."""
        return type(None), ()
