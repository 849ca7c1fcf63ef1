"""Tensors of which each rank keeps a part (DTensors): made whole for a file, taken from a whole one, put in its place.

Files hold whole tensors under the usual names, so a run may go on with another number of ranks, or with another
strategy. Whatever loads a whole tensor into a sharded module or optimizer, by any `load_state_dict`, finds it cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import distributed, nn
from torch.optim import Adam, Optimizer

from seg_runner.trees import map_leaves, tensors_of

__all__ = [
    "apart",
    "cut_on_loading",
    "cut_state_on_loading",
    "exchange_parameters",
    "gathered",
    "has_shards",
    "is_sharded",
    "like",
    "mean_gradients",
    "optimizers_of",
    "over_ranks",
]


def is_sharded(value: object) -> TypeGuard[Any]:
    """Tell whether a value is a tensor of which this rank may hold only a part."""
    return isinstance(value, torch.Tensor) and hasattr(value, "full_tensor")


def has_shards(tree: object) -> bool:
    """Tell whether any tensor of a tree is sharded; the same on all ranks."""
    return any(map(is_sharded, tensors_of(tree)))


def gathered(tree: object, keep: bool = True) -> Any:
    """Return the tree with whole tensors, on the CPU, in the place of sharded ones; called by all ranks alike.

    One tensor is gathered after the other, so the memory beside the shards is that of the largest.

    Args:
        tree: Dicts, lists, tuples; in the same order on all ranks.
        keep: Whether this rank wants them; without, it has empty tensors there.
    """
    done: dict[int, torch.Tensor] = {}  # one that stands in two places is gathered once

    def whole(leaf: object) -> object:
        if not is_sharded(leaf):
            return leaf
        if id(leaf) not in done:
            full = leaf.detach().full_tensor()
            done[id(leaf)] = full.cpu() if keep else full.new_empty(0)
        return done[id(leaf)]

    return map_leaves(tree, whole)


def like(whole: torch.Tensor, own: object) -> torch.Tensor:
    """Return a whole tensor, which all ranks have, cut as `own` is: each rank keeps its part, and nothing is sent.

    The part has memory of its own, so the whole one may go. A tensor of another shape, or one that is sharded already,
    comes back as it is; so does any, where `own` is whole.
    """
    if not is_sharded(own) or is_sharded(whole) or whole.shape != own.shape:
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    mesh, placements = own.device_mesh, own.placements
    here = distribute_tensor(whole.detach().to(mesh.device_type), mesh, placements, src_data_rank=None).to_local()
    part = here.to(own.to_local().device).clone()
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=own.shape, stride=own.stride())


@dataclass(frozen=True)
class Cut:
    """The block that a rank keeps of every tensor of one shape.

    Attributes:
        own: A tensor that is cut so.
        block: Where its part lies in the whole.
    """

    own: Any
    block: tuple[slice, ...]

    def put(self, part: torch.Tensor) -> torch.Tensor:
        """Return the sharded tensor of which this is the part of this rank."""
        from torch.distributed.tensor import DTensor

        own = self.own
        there = part.to(own.to_local().device)
        return DTensor.from_local(
            there, own.device_mesh, own.placements, run_check=False, shape=own.shape, stride=own.stride()
        )


def cuts_of(model: nn.Module) -> dict[torch.Size, Cut]:
    """Return how parameters are cut, by their shape; empty where none is, or where two of one shape differ in it."""
    found: dict[torch.Size, Cut] = {}
    for own in filter(is_sharded, model.parameters()):
        if (cut := found.get(own.shape)) is not None:
            if (cut.own.device_mesh, cut.own.placements) != (own.device_mesh, own.placements):
                return {}
            continue
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        sizes, offsets = compute_local_shape_and_global_offset(own.shape, own.device_mesh, own.placements)
        block = tuple(slice(at, at + size) for at, size in zip(offsets, sizes, strict=True))
        found[own.shape] = Cut(own, block)
    return found


def cut_on_loading(model: nn.Module) -> None:
    """Let `load_state_dict` of a sharded model, and of its copies, take whole tensors."""
    for module in model.modules():
        if any(map(is_sharded, module._parameters.values())):
            module.register_load_state_dict_pre_hook(_cut_weights)  # type: ignore[no-untyped-call]


def _cut_weights(module: nn.Module, state_dict: dict[str, Any], prefix: str, *rest: object) -> None:
    for name, own in module._parameters.items():
        if isinstance(value := state_dict.get(prefix + name), torch.Tensor):
            state_dict[prefix + name] = like(value, own)


def _cut_state(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Cut what a saved state keeps in the shape of a parameter; how a step is carried out is not the file's choice."""
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    keys = [key for group in state_dict["param_groups"] for key in group["params"]]
    cut = dict(state_dict["state"])
    for key, parameter in zip(keys, own, strict=False):
        if isinstance(kept := cut.get(key), Mapping):
            cut[key] = _cut_values(kept, parameter)
    groups = list(state_dict["param_groups"])
    for index, here in enumerate(optimizer.param_groups[: len(groups)]):
        if "fused" in here:
            groups[index] = {**groups[index], "fused": here["fused"]}
    return {**state_dict, "state": cut, "param_groups": groups}


def _cut_values(kept: Mapping[str, Any], parameter: torch.Tensor) -> dict[str, Any]:
    """Cut what has the shape of the parameter, and leave the rest (counts of steps, rows of a factored state)."""
    return {name: like(value, parameter) if isinstance(value, torch.Tensor) else value for name, value in kept.items()}


def exchange_parameters(wrapper: object, new: Mapping[int, nn.Parameter]) -> None:
    """Let every optimizer of a wrapper hold the sharded parameters in the place of the whole ones.

    Args:
        wrapper: An optimizer, a wrapper of one, or a dict-like wrapper of several.
        new: The sharded parameter by the `id` of the whole one.
    """
    for each in _wrappers(wrapper):
        getattr(each, "layout", None)  # seg-optim's wrapper works its names out when first asked, by these very ids
    for optimizer in optimizers_of(wrapper):
        for group in optimizer.param_groups:
            group["params"][:] = [new.get(id(parameter), parameter) for parameter in group["params"]]
        for old in [parameter for parameter in optimizer.state if id(parameter) in new]:
            own = new[id(old)]
            optimizer.state[own] = _cut_values(optimizer.state.pop(old), own)
        if not isinstance(optimizer, Adam):
            _unfuse(optimizer)
    cut_state_on_loading(wrapper)


def _unfuse(optimizer: Optimizer) -> None:
    """Let an optimizer step by multi-tensor calls: of the fused steps torch knows only those of Adam for DTensors."""
    for group in (optimizer.defaults, *optimizer.param_groups):
        if group.get("fused"):
            group["fused"] = False
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # which only fused ones do


def cut_state_on_loading(wrapper: object) -> bool:
    """Let `load_state_dict` of optimizers with sharded parameters take whole tensors; tell whether there are such."""
    found = False
    for optimizer in optimizers_of(wrapper):
        if any(is_sharded(parameter) for group in optimizer.param_groups for parameter in group["params"]):
            found = True
            if _cut_state not in optimizer._optimizer_load_state_dict_pre_hooks.values():
                optimizer.register_load_state_dict_pre_hook(_cut_state)
    return found


def optimizers_of(wrapper: object) -> list[Optimizer]:
    """Return the torch optimizers in a wrapper, or the one that it is."""
    found = [each if isinstance(each, Optimizer) else getattr(each, "optimizer", None) for each in _wrappers(wrapper)]
    return [optimizer for optimizer in found if isinstance(optimizer, Optimizer)]


def _wrappers(wrapper: object) -> Iterator[object]:
    """Yield the wrappers of a dict-like one, or the one that it is."""
    several = getattr(wrapper, "optim_wrappers", None)
    yield from several.values() if isinstance(several, Mapping) else [wrapper]


def apart(model: nn.Module) -> int:
    """Return how many ranks gather gradients by themselves in an accumulation: all under DDP, else one.

    Until its last batch DDP leaves each rank its own; sharded ones are the mean over the ranks already.
    """
    alone = not (distributed.is_available() and distributed.is_initialized()) or has_shards(list(model.parameters()))
    return 1 if alone else distributed.get_world_size()


def mean_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the mean over the ranks of what each has gathered, by name; called by all of them alike.

    A rank without a gradient that others have counts as one with zeros.
    """
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if not learning:
        return {}
    first = next(iter(learning.values()))
    there = torch.tensor([one.grad is not None for one in learning.values()], dtype=torch.uint8, device=first.device)
    distributed.all_reduce(there, op=distributed.ReduceOp.MAX)
    found = {}
    for (name, one), any_rank in zip(learning.items(), there.tolist(), strict=True):
        if any_rank:
            found[name] = torch.zeros_like(one) if one.grad is None else one.grad / distributed.get_world_size()
            distributed.all_reduce(found[name])
    return {name: gradient.detach() for name, gradient in found.items()}


def over_ranks(tree: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return counts, of which each rank has its own, added over the ranks; called by all of them alike."""
    found = {name: tensor.clone() for name, tensor in tree.items()}
    for tensor in found.values():
        distributed.all_reduce(tensor)
    return found
