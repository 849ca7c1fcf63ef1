"""Layer ids: pure functions from a parameter's name to its depth in the backbone.

Ids count from the embedding (0) to the last block; the head comes after them. Three functions are MMSegmentation's own
numbering, which its configs expect; the rest of the file reads the depth of any backbone whose names follow a scheme.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "Depths",
    "LayerIds",
    "convnext_layer_wise",
    "convnext_stage_wise",
    "from_function",
    "from_matcher",
    "layer_count",
    "uncompiled",
    "vit_layer_wise",
    "warn_gap",
]

logger = logging.getLogger("seg_optim")
LayerIds = Callable[[str], int | None]
"""Name of a parameter -> its layer id, or None for the head."""
Matcher = (
    Mapping[str, str | Sequence[tuple[str, Sequence[float] | None]] | None]
    | Callable[[str], float | tuple[float, ...] | list[float]]
)
"""timm's `group_matcher`: patterns by name, each with an order where there are several, or a function of a name."""
TOKENS = ("backbone.cls_token", "backbone.mask_token", "backbone.pos_embed")
END = float("inf")
PREVIOUS = 99999
"""timm's mark for `belongs to the group before`."""


@dataclass(frozen=True)
class Depths:
    """Where each parameter lies.

    Attributes:
        ids: name -> layer id; the head's is `last`.
        last: the head's id. The scale of a parameter is `decay_rate ** (last - id)`.
    """

    ids: Mapping[str, int]
    last: int


def convnext_layer_wise(name: str, num_layers: int) -> int | None:
    """Return MMSegmentation's ids for ConvNeXt, three blocks of the third stage to an id."""
    if name in TOKENS:
        return 0
    parts = name.split(".")
    if name.startswith("backbone.downsample_layers"):
        return (0, 2, 3, num_layers)[int(parts[2])]
    if name.startswith("backbone.stages"):
        stage, block = int(parts[2]), int(parts[3])
        return (1, 2, 3 + block // 3, num_layers)[stage]
    return None


def convnext_stage_wise(name: str) -> int | None:
    """Return MMSegmentation's ids for ConvNeXt by stage: all downsampling 0, stage `s` is `s + 1`."""
    if name in TOKENS or name.startswith("backbone.downsample_layers"):
        return 0
    return int(name.split(".")[2]) + 1 if name.startswith("backbone.stages") else None


def vit_layer_wise(name: str) -> int | None:
    """Return MMSegmentation's ids for BEiT and MAE: tokens and patch embedding 0, block `i` is `i + 1`."""
    if name in TOKENS or name.startswith("backbone.patch_embed"):
        return 0
    return int(name.split(".")[2]) + 1 if name.startswith("backbone.layers") else None


def uncompiled(name: str) -> str:
    """Return a name as it is without torch.compile round a part of the model."""
    return name.replace("_orig_mod.", "")


def layer_count(given: object, where: str = "") -> int | None:
    """Return `num_layers` as a number; None for `'auto'`.

    Args:
        given: what the user wrote.
        where: put before the name in messages.

    Raises:
        ValueError: it is neither.
    """
    if given == "auto":
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"{where}num_layers={given!r}: a whole number of at least 1 is needed, or 'auto'")
    return given


def from_function(names: Iterable[str], function: LayerIds, num_layers: int | None) -> Depths:
    """Return depths from a function; the head lies at `num_layers + 1`, or right after the deepest without it.

    Raises:
        TypeError: an id is not a whole number.
        ValueError: an id is negative, or there are more layers than `num_layers`.
    """
    found = {name: function(uncompiled(name)) for name in names}
    wrong = next((name for name, depth in found.items() if depth is not None and not isinstance(depth, int)), None)
    if wrong is not None:
        raise TypeError(f"layer id of {wrong} is {found[wrong]!r}, a whole number (None for the head) is needed")
    deepest = max((depth for depth in found.values() if depth is not None), default=0)
    last = deepest + 1 if num_layers is None else num_layers + 1
    if deepest >= last:
        name = next(name for name, depth in found.items() if depth == deepest)
        raise ValueError(
            f"num_layers={num_layers}, but {name} lies in layer {deepest}: its rate would be above the head's. "
            f"Set num_layers={deepest} or 'auto'"
        )
    warn_gap(deepest, last)
    negative = next((name for name, depth in found.items() if depth is not None and depth < 0), None)
    if negative is not None:
        raise ValueError(f"layer id of {negative} is {found[negative]}, but ids count from 0")
    return Depths({name: last if depth is None else depth for name, depth in found.items()}, last)


def warn_gap(deepest: int, last: int) -> None:
    """Say that layers are missing between the deepest one and the head."""
    if deepest and deepest + 1 < last:
        logger.warning(
            "num_layers=%d, but the deepest layer found is %d: all layers learn more slowly than decay_rate says. Set "
            "num_layers=%d or 'auto'", last - 1, deepest, deepest,
        )  # fmt: skip


def from_matcher(names: Sequence[str], matcher: Matcher) -> dict[str, int | None]:
    """Return the layer ids from a model's `group_matcher`: timm's notation, a dict of patterns or a function.

    A pattern (or each `(pattern, order)` of a list) gives a sort key: the pattern's place, the numbers it captured,
    the order. Equal keys are one layer, layers are numbered in the order of their keys, a key that ends in 99999
    belongs to the layer before, and names without a match are the head.
    """
    keys = {name: _matcher_key(name, matcher) for name in names}
    ids: dict[tuple[float, ...], int | None] = {(END,): None}
    depth = -1
    for key in sorted(set(keys.values()) - {(END,)}):
        if depth < 0 or key[-1] != PREVIOUS:
            depth += 1
        ids[key] = depth
    return {name: ids[key] for name, key in keys.items()}


def _matcher_key(name: str, matcher: Matcher) -> tuple[float, ...]:
    if callable(matcher):
        key = matcher(name)
        return tuple(key) if isinstance(key, tuple | list) else (key,)
    for place, spec in enumerate(matcher.values()):
        for pattern, order in [(spec, None)] if isinstance(spec, str) else spec or []:
            found = re.match(pattern, name)
            if found:
                numbers = [float(text) for text in found.groups() if text]
                return (float(place), *numbers, *map(float, order or ()))
    return (END,)
