"""The two orders of parameter groups: our fused groups, and MMEngine's layout that checkpoints are written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from torch import Tensor, nn

__all__ = ["Layout", "Order", "check_shapes"]

T = TypeVar("T")
OWN_KEYS = ("fused", "foreach", "name", "capturable", "differentiable")
"""Options that say how a step is carried out, not what it does: a checkpoint does not change them."""

SHAPED = ("exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg")
"""What torch's optimizers keep in the shape of the parameter."""


@dataclass(frozen=True)
class Order:
    """Parameters in the order of groups.

    Attributes:
        parameters: all of them.
        sizes: how many lie in each group; None: one in each.
    """

    parameters: Sequence[nn.Parameter]
    sizes: Sequence[int] | None = None

    @classmethod
    def of(cls, groups: Iterable[Sequence[nn.Parameter]]) -> Order:
        """Return the order of listed groups."""
        listed = list(groups)
        return cls([p for group in listed for p in group], [len(group) for group in listed])

    @property
    def single(self) -> bool:
        """Tell whether there is one group at most."""
        return (len(self.parameters) if self.sizes is None else len(self.sizes)) <= 1

    def named(self, names: Mapping[int, str]) -> list[list[str]]:
        """Return the parameters' names, group by group."""
        rest = iter(self.parameters)
        sizes = self.sizes if self.sizes is not None else [1] * len(self.parameters)
        return [[names[id(parameter)] for parameter in islice(rest, size)] for size in sizes]


@dataclass(frozen=True)
class Layout:
    """Parameter names by group: as the optimizer has them, and as MMEngine would have made them.

    Attributes:
        own: names in each group of the optimizer.
        reference: names in each group of MMEngine's optimizer; each lies within one group of `own`.
    """

    own: list[list[str]]
    reference: list[list[str]]

    @property
    def owners(self) -> list[int]:
        """Return the index of our group in which each of MMEngine's groups lies."""
        where = {name: index for index, names in enumerate(self.own) for name in names}
        return [where[names[0]] for names in self.reference]

    @cached_property
    def same(self) -> bool:
        """Tell whether both orders are one."""
        return self.own == self.reference

    @cached_property
    def places(self) -> list[int]:
        """Return the place in our order of each parameter in MMEngine's."""
        own = _numbered(self.own)
        return [own[name] for names in self.reference for name in names]

    def unfold(self, values: Sequence[T]) -> list[T]:
        """Turn values of our groups (and any after them) into values of MMEngine's groups (and those after them)."""
        return [*(values[owner] for owner in self.owners), *values[len(self.own) :]]

    def fold(self, values: Sequence[T]) -> list[T] | None:
        """Go the way back; None if there are fewer values than MMEngine has groups."""
        if len(values) < len(self.reference):
            return None
        owners = self.owners
        firsts = [values[owners.index(index)] for index in range(len(self.own))]
        return [*firsts, *values[len(self.reference) :]]

    def to_reference(self, state: dict[str, Any]) -> dict[str, Any]:
        """Turn an optimizer's state dict in our order into one in MMEngine's."""
        own_index, reference_index = _numbered(self.own), _numbered(self.reference)
        move = {own_index[name]: reference_index[name] for name in own_index}
        groups = [
            {**state["param_groups"][owner], "params": [reference_index[name] for name in names]}
            for owner, names in zip(self.owners, self.reference, strict=True)
        ]
        return {
            **state,
            "state": {move[key]: state["state"][key] for key in sorted(state["state"], key=move.__getitem__)},
            "param_groups": groups,
        }

    def from_reference(self, state: dict[str, Any]) -> dict[str, Any]:
        """Go the way back. Our group takes the options of the first of MMEngine's groups in it."""
        own_index, reference_index = _numbered(self.own), _numbered(self.reference)
        saved = [key for group in state["param_groups"] for key in group["params"]]
        move = {saved[reference_index[name]]: own_index[name] for name in own_index}
        owners = self.owners
        groups = [
            {**state["param_groups"][owners.index(index)], "params": [own_index[name] for name in names]}
            for index, names in enumerate(self.own)
        ]
        return {**state, "state": {move[key]: value for key, value in state["state"].items()}, "param_groups": groups}

    def disagreements(self, groups: Sequence[dict[str, Any]]) -> list[str]:
        """Return options in which MMEngine's groups differ that we hold as one (`lr: 0.1 and 0.2 in one group`)."""
        first: dict[int, dict[str, Any]] = {}
        found = []
        for owner, group in zip(self.owners, groups, strict=True):
            known = first.setdefault(owner, group)
            found += [
                f"{key}: {known[key]} and {group[key]} in one group"
                for key in known
                if key in group
                and key not in ("params", "lr_mult", "decay_mult", *OWN_KEYS)
                and known[key] != group[key]
            ]
        return list(dict.fromkeys(found))


def sizes(groups: Sequence[Any]) -> list[int]:
    """Return the number of parameters in each group of a state dict, or of names in each group of a layout."""
    return [len(group["params"] if isinstance(group, dict) else group) for group in groups]


def check_shapes(state: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError where an optimizer's state holds something of another shape than its parameter."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    saved = [key for group in state["param_groups"] for key in group["params"]]
    for number, (key, parameter) in enumerate(zip(saved, parameters, strict=True), 1):
        kept = state["state"].get(key, {})
        for name, value in ((name, kept[name]) for name in SHAPED if isinstance(kept.get(name), Tensor)):
            shape, own = tuple(value.shape), tuple(parameter.shape)
            if shape != own:
                raise ValueError(
                    f"the optimizer state has a {name} of shape {shape} for parameter {number} of {len(parameters)}, "
                    f"whose shape is {own}: it was written for another model, or one whose parameters have another "
                    "order. Take the weights alone (load_from), or the model of the checkpoint"
                )


def _numbered(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: index for index, name in enumerate(name for names in groups for name in names)}
