"""Reading how deep each parameter lies: from the model itself, or from the naming scheme of its backbone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from seg_optim.groups.layer_ids import Depths, from_matcher, warn_gap
from seg_optim.groups.naming_schemes import closest_scheme, find_scheme, is_final_norm
from seg_optim.protocols import KnowsDepth
from seg_optim.unwrap import unwrap

__all__ = ["read_depths"]

DEEPEST = 4
"""How many levels down a backbone is looked for."""


def read_depths(
    model: nn.Module, num_layers: int | None = None, stages: bool = False, final_norm: str = "head"
) -> Depths:
    """Return the depths of all parameters.

    Asked in this order, for the model and then for the submodules that may be its backbone: `get_layer_id(name)`,
    timm's `group_matcher()`, the known naming schemes.

    Args:
        model: the backbone, or a model that holds one.
        num_layers: layers below the head; None reads it.
        stages: count stages instead of blocks.
        final_norm: `head` or `last_block`, where the norm after the last block belongs.

    Raises:
        ValueError: no scheme fits, or there are more layers than `num_layers`.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix, module in candidates(model):
        inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        ids = _ids(module, inside, stages, final_norm)
        known = set() if ids is None else set(ids.values()) - {None}
        if ids is not None and known and (0 in known or prefix == "" or _is_backbone(prefix)):
            return _placed(names, {prefix + name: depth for name, depth in ids.items()}, num_layers)
    raise ValueError(_no_scheme(model, names))


def candidates(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return what may be the backbone, with its prefix: `backbone`, the model itself, its parts from the largest on."""
    parts = [(f"{name}.", part) for name, part in model.named_modules() if name and name.count(".") < DEEPEST]
    parts = [(prefix, part) for prefix, part in parts if unwrap(part) is part]
    weights = {prefix: sum(parameter.numel() for parameter in part.parameters()) for prefix, part in parts}
    parts = [(prefix, part) for prefix, part in parts if weights[prefix] and not re.search(r"(^|\.)\d+\.", prefix)]
    parts.sort(key=lambda pair: (-weights[pair[0]], pair[0].count(".")))
    named = [pair for pair in parts if _is_backbone(pair[0])]
    return [*named, ("", model), *(pair for pair in parts if not _is_backbone(pair[0]))]


def _is_backbone(prefix: str) -> bool:
    """Tell whether a prefix is that of the model's `backbone`, maybe inside DDP or torch.compile."""
    return re.fullmatch(r"backbone\.((module|_orig_mod)\.)*", prefix) is not None


def _ids(module: nn.Module, names: Sequence[str], stages: bool, final_norm: str) -> dict[str, int | None] | None:
    if isinstance(module, KnowsDepth):
        return {name: module.get_layer_id(name) for name in names}
    matcher = getattr(module, "group_matcher", None)
    if not callable(matcher):
        return find_scheme(names, stages, final_norm)
    ids = from_matcher(names, matcher(coarse=stages))
    if final_norm == "head":
        ids.update({name: None for name in names if is_final_norm(name)})
    return ids


def _placed(names: Sequence[str], ids: dict[str, int | None], num_layers: int | None) -> Depths:
    """Put the head one above the deepest layer; where there is no head, the deepest layer is in its place."""
    deepest = max(depth for depth in ids.values() if depth is not None)
    headless = all(ids.get(name) is not None for name in names)
    last = num_layers + 1 if num_layers is not None else deepest if headless else deepest + 1
    if deepest > last or (deepest == last and not headless):
        raise ValueError(
            f"num_layers={num_layers}, but the model has layers up to {deepest}: set num_layers={deepest} or 'auto'"
        )
    warn_gap(deepest, last)
    return Depths({name: last if (depth := ids.get(name)) is None else depth for name in names}, last)


def _no_scheme(model: nn.Module, names: Sequence[str]) -> str:
    """Return what is wrong, with the names that the scheme that fits best does not know."""
    found = [
        (len(inside) - len(left), scheme, prefix, left)
        for prefix, _ in candidates(model)
        for inside in [[name.removeprefix(prefix) for name in names if name.startswith(prefix)]]
        for scheme, left in [closest_scheme(inside)]
    ]
    matched, scheme, prefix, left = max(found, key=lambda fit: fit[0])
    about, unknown = "its names follow no known naming scheme", list(names)
    if matched:
        inside_of = f" in {prefix.rstrip('.')!r}" * bool(prefix)
        about, unknown = f"the names{inside_of} are nearly those of {scheme}", [prefix + name for name in left]
    shown = ", ".join(unknown[:12]) + (f" and {len(unknown) - 12} more" if len(unknown) > 12 else "")
    return (
        f"the depth of {type(model).__name__} cannot be read: {about}. Give layer_ids=<function: parameter name -> "
        f"depth from 0, None for the head>, or give the model a get_layer_id(name). Unmatched: {shown}"
    )
