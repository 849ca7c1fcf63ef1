"""Groups: collect parameters with their options, fuse those with equal options, name them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

__all__ = ["bare_model", "fuse", "members", "parameter_names", "with_names"]

Group = dict[str, Any]
NOTES = frozenset({"params", "name", "lr_mult", "decay_mult", "param_names"})
"""Entries of a group that change nothing in the update."""
PLAIN = NOTES | {"lr", "weight_decay"}


def parameter_names(model: nn.Module) -> dict[int, str]:
    """Name of each parameter by its id; a shared one has its first name."""
    return {id(parameter): name for name, parameter in model.named_parameters()}


def bare_model(model: nn.Module) -> nn.Module | None:
    """Return the part of a wrapper that its `named_modules` gives no name of its own; None for any other model."""
    if type(model).named_modules is nn.Module.named_modules:
        return None
    return next((part for name, part in model.named_modules() if not name and part is not model), None)


def members(group: Group) -> list[nn.Parameter]:
    """Return a group's parameters as a list (they may be given as one tensor)."""
    parameters = group["params"]
    if type(parameters) is list:
        return parameters
    return [parameters] if isinstance(parameters, nn.Parameter) else list(parameters)


def fuse(groups: Sequence[Group], defaults: Mapping[str, Any]) -> list[Group]:
    """Return as many groups as there are distinct options, in the order in which these first appear.

    Args:
        groups: one per tensor, or any others.
        defaults: options that hold where a group does not mention them; a group that repeats a default is equal to
            one that leaves it out.
    """
    fused: dict[Any, Group] = {}
    lr, decay = defaults.get("lr"), defaults.get("weight_decay")
    for group in groups:
        identity: Any = (group.get("lr", lr), group.get("weight_decay", decay))
        if not PLAIN.issuperset(group):
            identity = (identity, _identity({key: value for key, value in group.items() if key not in PLAIN}))
        if identity in fused:
            fused[identity]["params"] += members(group)
        else:
            options = {key: value for key, value in group.items() if key not in NOTES or key == "name"}
            fused[identity] = {**options, "params": list(members(group))}
    return list(fused.values())


def _identity(options: Mapping[str, Any]) -> Any:
    pairs = tuple(sorted(options.items()))
    try:
        hash(pairs)
    except TypeError:
        return tuple((key, repr(value)) for key, value in pairs)
    return pairs


def with_names(groups: Sequence[Group], lr: float | None, weight_decay: float | None) -> list[Group]:
    """Give each group without one a `name` that says how it differs from the base (`lr_x10_no_decay`), each once."""
    taken: dict[str, int] = {}
    for group in groups:
        name = group.get("name") or _name(group, lr, weight_decay)
        taken[name] = taken.get(name, 0) + 1
        group["name"] = name if taken[name] == 1 else f"{name}_{taken[name]}"
    return list(groups)


def _name(group: Group, lr: float | None, weight_decay: float | None) -> str:
    parts = []
    if lr and "lr" in group and not math.isclose(group["lr"], lr):
        parts.append("no_lr" if group["lr"] == 0 else f"lr_x{group['lr'] / lr:.6g}")
    if weight_decay and "weight_decay" in group and not math.isclose(group["weight_decay"], weight_decay):
        decay = group["weight_decay"]
        parts.append("no_decay" if decay == 0 else f"decay_x{decay / weight_decay:.6g}")
    return "_".join(parts) or "base"
