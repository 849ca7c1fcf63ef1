"""Parameters that the loss of a step does not depend on: their names, the option that helps, and what it costs."""

from __future__ import annotations

import logging
import re

import torch
from torch import distributed, nn

__all__ = ["UnusedWatch", "name_unused"]

LOG = logging.getLogger("seg_runner")
FLAG = (
    "strategy=dict(type='ddp', find_unused_parameters=True), or in a config for MMSegmentation "
    "find_unused_parameters = True"
)
SHOWN = 8
"""Names of parameters in a message."""
STEPS = 10
"""Backward passes in which nothing is unused, after which it is said."""


def name_unused(error: RuntimeError, module: nn.Module) -> RuntimeError | None:
    """Return an error that names the parameters which a step left without a gradient; None for any other error.

    Args:
        error: What DDP has raised, at the next step.
        module: The model in it.
    """
    text = str(error)
    if "Expected to have finished reduction in the prior iteration" not in text:
        return None
    learning = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    found = re.search(r"did not receive grad for rank \d+: ([\d ]+)", text)
    names = [learning[int(number)] for number in (found[1].split() if found else ()) if int(number) < len(learning)]
    if names:
        listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        what = f"the loss of the last step did not depend on {listed} ({len(names)} of {len(learning)} parameters)"
    else:
        what = "on another rank, the loss of the last step did not depend on all parameters"
    return RuntimeError(
        f"{what}, and every rank waits for all gradients. If some steps leave parts of the model out: {FLAG}, which "
        "costs a walk through each step's graph. If these are never used: take them out of the model, or set "
        "requires_grad=False. Or is a loss missing from what the model returns?"
    )


class UnusedWatch:
    """Tells, once, that parameters are looked for that are not used, and that there are none.

    Args:
        module: The model.

    Attributes:
        over: Whether there is nothing more to look at.
    """

    def __init__(self, module: nn.Module) -> None:
        self.over, self._passes, self._unused = False, 0, False
        self._learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._used: set[int] = set()
        # torch itself tells only that nothing was unused in the first forward pass
        self._handles = [
            parameter.register_post_accumulate_grad_hook(self._note)  # type: ignore[no-untyped-call]
            for parameter in self._learning
        ]

    def _note(self, parameter: torch.Tensor) -> None:
        self._used.add(id(parameter))

    def look(self) -> None:
        """Look, before a forward pass, at what the backward pass before it has used; called by all ranks alike."""
        if not self._used:
            return
        self._passes += 1
        self._unused = self._unused or len(self._used) < len(self._learning)
        self._used.clear()
        if self._passes < STEPS:
            return
        self.over = True
        for handle in self._handles:
            handle.remove()
        somewhere = torch.tensor(int(self._unused), device=self._learning[0].device)
        distributed.all_reduce(somewhere, op=distributed.ReduceOp.MAX)
        if not int(somewhere):
            LOG.warning(
                "find_unused_parameters is on, and in %d backward passes every parameter was used. Each step walks "
                "through its graph for nothing: leave it out, unless later steps leave parts of the model out.",
                STEPS,
            )
