"""Watch: whether the optimizer still holds what the model trains, looked at rarely enough to cost nothing."""

from __future__ import annotations

import logging
import weakref
from typing import Any

from torch import nn
from torch.optim import Optimizer

from seg_optim.unwrap import unwrap

__all__ = ["Watch"]

logger = logging.getLogger("seg_optim")
NAMED = 5
"""How many parameters one line names."""


class Watch:
    """Names parameters that a model set anew, added or set free after its optimizer was built: they are not trained.

    A module that is replaced, a `weight_norm`, an assigned `nn.Parameter`: the optimizer goes on with the earlier
    tensors, which no longer change the model. Looking goes through the whole model, so it is done at the optimizer
    steps 1, 2, 4, 8, ... and whenever a state is saved. Each parameter is told once.

    Args:
        model: the model, maybe inside DDP or torch.compile; held weakly.
        optimizers: one, or several that share the model; whose groups should hold its parameters.
        complete: the optimizer was just built for the whole model, so that a frozen parameter which learns later is
            told, too; so it is where the optimizer holds all that learns now. Otherwise what it does not hold now is
            taken as left out on purpose.

    Example:
        >>> import torch
        >>> net = nn.Linear(2, 2)
        >>> watch = Watch(net, torch.optim.SGD(net.parameters(), lr=0.1), complete=True)
        >>> watch.missing()
        []
        >>> net.bias = nn.Parameter(torch.zeros(2))
        >>> watch.missing()
        ['bias']
    """

    def __init__(self, model: nn.Module, *optimizers: Optimizer, complete: bool) -> None:
        self._model = weakref.ref(unwrap(model))
        self._optimizers = optimizers
        left_out = self._outside()
        complete = complete or not any(parameter.requires_grad for parameter in left_out.values())
        known = [] if complete else self._in_model()
        if any(known) and not all(known):
            left_out = {}  # beside tensors of this model it holds some that are not: replaced before, as it seems
        self._named = {name for name, parameter in left_out.items() if not complete or parameter.requires_grad}
        self.next_look = 1

    def stepped(self, count: int) -> None:
        """Look after the optimizer's step number `count`, which is due; the next time at twice as many."""
        self.next_look = 2 * count
        self.look()

    def look(self) -> None:
        """Log a line that names the parameters which are not trained."""
        names = self.missing()
        if not names:
            return
        self._named.update(names)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        logger.warning(
            "not trained: %s%s. These were replaced, added or unfrozen after the optimizer was built, so it does not "
            "know them. Change the model before the optimizer is built, set new values in place "
            "(parameter.data.copy_(...)), or add them to the optimizer: parameter.grad = None, which drops the "
            "gradients summed up since then, and then optimizer.add_param_group(...)",
            ", ".join(names[:NAMED]), more,
        )  # fmt: skip

    def missing(self) -> list[str]:
        """Return the model's parameters that learn, that the optimizer does not hold, and that were not named yet."""
        outside = self._outside().items()
        return [name for name, parameter in outside if parameter.requires_grad and name not in self._named]

    def _outside(self) -> dict[str, nn.Parameter]:
        model = self._model()
        held = {id(None), *map(id, self._held())}
        if model is None or held.issuperset(map(id, _every_parameter(model))):
            return {}  # names, which take most of the time, are asked for only where some are needed
        return {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in held}

    def _in_model(self) -> list[bool]:
        """Tell for each parameter that the optimizer holds whether it is one of the model's."""
        model = self._model()
        own = set() if model is None else {id(parameter) for parameter in model.parameters()}
        return [id(parameter) in own for parameter in self._held()]

    def _held(self) -> list[nn.Parameter]:
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        return [parameter for group in groups for parameter in group["params"]]

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Copy as None: a copy of a wrapper watches nothing, as its model is another one."""

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Pickle as None, for the same reason."""
        return type(None), ()


def _every_parameter(model: nn.Module) -> list[nn.Parameter | None]:
    """List what stands in all modules as a parameter, shared ones as often as they occur.

    `nn.Module.parameters` hands each of them through one generator for every module above it.
    """
    modules, found = [model], list(model._parameters.values())
    for module in modules:  # which grows meanwhile
        for child in module._modules.values():
            if child is not None:
                modules.append(child)
                if child._parameters:
                    found += child._parameters.values()
    return found
