"""SplitOptimizer: two optimizers that share one list of groups, so that they have one wrapper and one schedule."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from seg_optim.checks import check_choice
from seg_optim.groups.collect import members, parameter_names
from seg_optim.groups.naming_schemes import HEAD, TOKENS

__all__ = ["SplitOptimizer", "hidden_matrices", "split_groups"]

Groups = list[dict[str, Any]]


class SplitOptimizer(Optimizer):
    """Some groups stepped by one optimizer, the rest by another (Muon for hidden matrices, AdamW for what it cannot).

    Groups, state, hooks and gradients are seen as those of one optimizer. A group that is added later goes to the part
    that would have had its parameters from the beginning; `part='main'` or `part='rest'` in the group says it outright.

    Args:
        main: steps the first groups.
        rest: steps the others.
        model: whose names tell hidden matrices from embeddings and heads, for groups that are added; held weakly.
    """

    _model: weakref.ref[nn.Module] | None = None

    def __init__(self, main: Optimizer, rest: Optimizer, model: nn.Module | None = None) -> None:
        self.parts = (main, rest)
        self._model = None if model is None else weakref.ref(model)
        self._owners = [0] * len(main.param_groups) + [1] * len(rest.param_groups)
        super().__init__([*main.param_groups, *rest.param_groups], {})
        self.defaults = dict(main.defaults)
        self._share()

    def _share(self) -> None:
        """Let both parts work on our own groups and state, whoever replaced these."""
        for index, part in enumerate(self.parts):
            pairs = zip(self._owners, self.param_groups, strict=True)
            part.param_groups = [group for owner, group in pairs if owner == index]
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._share()
        for part in self.parts:
            part.step()
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with the other options of the part that will step it.

        Raises:
            ValueError: its parameters belong to both parts, or nobody can tell to which.
        """
        if len(self.param_groups) < len(self._owners):  # while this is made
            super().add_param_group(param_group)
            return
        group = {**param_group, "params": members(param_group)}
        owner = self._owner(group.pop("part", None), [p[1] if isinstance(p, tuple) else p for p in group["params"]])
        own, self.defaults = self.defaults, self.parts[owner].defaults
        try:
            super().add_param_group(group)
        finally:
            self.defaults = own
        self._owners.append(owner)

    def _owner(self, said: object, parameters: Sequence[Any]) -> int:
        """Tell which part takes them."""
        main, rest = (type(part).__name__ for part in self.parts)
        if said is not None:
            check_choice("add_param_group: part", said, ("main", "rest"))
            if said == "main" and any(parameter.ndim != 2 for parameter in parameters):
                raise ValueError(f"add_param_group: part='main', but {main} takes 2-D weights only: give part='rest'")
            return 0 if said == "main" else 1
        model = None if self._model is None else self._model()
        names = {} if model is None else parameter_names(model)
        hidden = set() if model is None else hidden_matrices(model)
        if any(parameter.ndim == 2 and id(parameter) not in names for parameter in parameters):
            raise ValueError(
                "add_param_group: a matrix that is not in the model may be a hidden weight or a head's. Put "
                f"it into the model first, or give part='main' ({main} steps the group) or part='rest' ({rest} does)"
            )
        inside = [names.get(id(parameter)) in hidden for parameter in parameters]
        if any(inside) and not all(inside):
            raise ValueError(
                f"add_param_group: {main} takes hidden matrices only, {rest} the others: add them as two groups, or "
                "give part='rest'"
            )
        return 0 if all(inside) else 1

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with both parts, for copies; a copy knows no model."""
        state: dict[str, Any] = super().__getstate__()
        return {**state, "parts": self.parts, "_owners": self._owners}


def hidden_matrices(model: nn.Module) -> set[str]:
    """Return the names of the 2-D weights that are no embeddings, tokens or a head's: what Muon is meant for."""
    embeddings = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Embedding)}
    outside = re.compile(rf"^{HEAD}|(^|\.)({TOKENS}|\w*patch_embed\w*\b|embeddings\b)")
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and name not in embeddings and not outside.search(name)
    }


def split_groups(
    groups: Sequence[dict[str, Any]], names: Mapping[int, str], main: set[str], rates: Mapping[str, tuple[Any, Any]]
) -> tuple[Groups, Groups]:
    """Return the groups of the parameters in `main`, and groups of the others with their own optimizer's rates.

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


def _converted(value: Any, base: float | None, other: float | None) -> Any:
    if base is None or other is None:
        return value
    return other if value == base else value / base * other if base else other
