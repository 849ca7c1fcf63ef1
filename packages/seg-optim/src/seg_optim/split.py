"""SplitOptimizer: two optimizers that share one list of groups, so that they have one wrapper and one schedule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from seg_optim.schemes import HEAD, TOKENS

__all__ = ["SplitOptimizer", "divided", "hidden_matrices"]

Groups = list[dict[str, Any]]


class SplitOptimizer(Optimizer):
    """Some groups stepped by one optimizer, the rest by another (Muon for hidden matrices, AdamW for what it cannot).

    Groups, state, hooks and gradients are seen as those of one optimizer.

    Args:
        main: steps the first groups.
        rest: steps the others.
    """

    def __init__(self, main: Optimizer, rest: Optimizer) -> None:
        self.parts = (main, rest)
        super().__init__([*main.param_groups, *rest.param_groups], {})
        self.defaults = dict(main.defaults)
        self._share()

    def _share(self) -> None:
        """Let both parts work on our own groups and state."""
        start = 0
        for part in self.parts:
            part.param_groups = self.param_groups[start : start + len(part.param_groups)]
            part.state = self.state
            start += len(part.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of both."""
        super().load_state_dict(state_dict)
        self._share()


def hidden_matrices(model: nn.Module) -> set[str]:
    """Names of the 2-D weights that are neither embeddings, tokens nor a head's: what Muon is meant for."""
    embeddings = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Embedding)}
    outside = re.compile(rf"^{HEAD}|(^|\.)({TOKENS}|\w*patch_embed\w*\b|embeddings\b)")
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and name not in embeddings and not outside.search(name)
    }


def divided(
    groups: Sequence[dict[str, Any]], names: Mapping[int, str], main: set[str], rates: Mapping[str, tuple[Any, Any]]
) -> tuple[Groups, Groups]:
    """Groups of the parameters in `main`, and groups of the others with their own optimizer's rates.

    Args:
        groups: fused groups.
        names: name of each parameter by its id.
        main: which parameters the main optimizer takes.
        rates: for `lr` and `weight_decay` the base of the main optimizer and that of the other; a group keeps its
            ratio to the base.
    """
    first: Groups = []
    second: Groups = []
    for group in groups:
        inside = [p for p in group["params"] if names[id(p)] in main]
        outside = [p for p in group["params"] if names[id(p)] not in main]
        if inside:
            first.append({**group, "params": inside})
        if outside:
            options = {key: _converted(value, *rates.get(key, (None, None))) for key, value in group.items()}
            second.append({**options, "params": outside, "name": f"rest_{group.get('name', len(second))}"})
    return first, second


def _converted(value: Any, base: Any, other: Any) -> Any:
    if base is None or other is None:
        return value
    return other if value == base else value / base * other if base else other
