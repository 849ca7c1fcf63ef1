"""Naming schemes of backbones: patterns that say in which layer or stage a parameter lies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SCHEMES", "Scheme", "find_scheme"]

HEAD = r"(head|heads|fc|classifier|pooler|decode_head|auxiliary_head|segmentation_head|linear_head|aux_classifier)\b"


@dataclass(frozen=True)
class Scheme:
    """One way to name a backbone's parameters.

    Attributes:
        name: what the scheme is called in messages.
        stem: what comes before the first block.
        blocks: patterns of blocks; named groups `stage` and `block` say where. `down` marks what leads into a stage.
        final: the norm after the last block.
    """

    name: str
    stem: str
    blocks: tuple[str, ...]
    final: str


SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        "flat transformer",
        r"(embeddings|patch_embed|pos_embed|cls_token|class_token|mask_token|reg_token|register_tokens|dist_token|"
        r"patch_embedding|conv_proj|encoder\.pos_embedding|pos_drop|norm_pre|pre_norm|rel_pos_bias|rope|ln_pre|pre_layrnorm)",
        (r"(?:encoder\.)?(?:layers?|blocks?|h)\.(?:encoder_layer_)?(?P<block>\d+)\.(?!\d|blocks\.)",),
        r"(norm|fc_norm|layernorm|layer_norm|ln|ln1|ln_f|encoder\.ln|post_layernorm|final_layer_norm)\d*\.",
    ),
)


def find_scheme(names: Sequence[str], stages: bool, final_norm: str) -> dict[str, int | None] | None:
    """Layer ids by the first scheme that knows every name; None if there is none. A head's id is None."""
    for scheme in SCHEMES:
        keys = {name: _key(scheme, name) for name in names}
        placed = [key for key in keys.values() if key is not None and len(key) > 1]
        if all(key is not None for key in keys.values()) and placed:
            return _numbered(keys, final_norm)
    return None


def _key(scheme: Scheme, name: str) -> tuple[float, ...] | None:
    for pattern in scheme.blocks:
        found = re.match(pattern, name)
        if found:
            return (1.0, float(found["block"]))
    if re.match(scheme.stem, name):
        return (0.0,)
    if re.match(scheme.final, name):
        return (2.0,)
    return (3.0,) if re.match(HEAD, name) else None


def _numbered(keys: dict[str, tuple[float, ...] | None], final_norm: str) -> dict[str, int | None]:
    blocks = sorted({key for key in keys.values() if key is not None and key[0] == 1.0})
    ids: dict[tuple[float, ...] | None, int | None] = {key: index + 1 for index, key in enumerate(blocks)}
    ids[(0.0,)] = 0
    ids[(2.0,)] = len(blocks) if final_norm == "last_block" else None
    return {name: ids.get(key) for name, key in keys.items()}
