"""Naming schemes of backbones: patterns that say in which block or stage a parameter lies.

A scheme fits a set of names if it knows every one of them. Each pattern has a role, and may capture the stage `s` and
the block `b`:

    stem    before the first block: depth 0
    block   in block `b` (of stage `s`)
    before  leads into stage `s`, and belongs to its first block
    next    leads out of stage `s`, and belongs to the first block of the stage after it
    after   belongs to the last block of stage `s`
    out     norm of the output of stage `s`
    final   norm after the last block
    head    everything that is learnt on top
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SCHEMES", "Scheme", "closest_scheme", "find_scheme", "is_final_norm"]

Key = tuple[float, ...]
END = float("inf")
HEAD = (
    r"(head\w*|heads|fc|classifier|cls|pooler|pooling|attn_pool|decode_head|auxiliary_head|decoder|segmentation_head|"
    r"last_linear|aux_classifier|lm_head|visual_projection|dist_head)\b"
)
FINAL = r"(final_)?(norm|fc_norm|layernorm|layer_norm|ln|ln_f|ln_post|post_layernorm)(_f)?\."
OUT = r"(norm|layernorm|layer_norm|out_norm)_?(?P<s>\d+)\."
TOKENS = (
    r"(\w*(cls|class|mask|reg|register|dist|storage)_?tokens?|\w*pos\w*_embed\w*|\w*pos_emb\w*|rel_pos_bias|rope\w*)\b"
)


@dataclass(frozen=True)
class Scheme:
    """One way to name a backbone's parameters.

    Attributes:
        name: what messages call it.
        patterns: role and pattern; the first that matches at the start of a name decides.
        last_stage: how many `s` there must be, where that tells families apart.
    """

    name: str
    patterns: tuple[tuple[str, str], ...]
    stages: int | None = None


def _scheme(name: str, *patterns: tuple[str, str], stages: int | None = None) -> Scheme:
    common = (("stem", TOKENS), ("final", FINAL), ("out", OUT), ("final", r"head\.(norm|ln)\b"), ("head", HEAD))
    return Scheme(name, (*patterns, *common), stages)


SCHEMES: tuple[Scheme, ...] = (
    _scheme(
        "ViT, BEiT, MAE, DeiT, DINOv2, EVA, CLIP",
        ("stem", r"(embeddings|stem|patch_embed\w*|conv_proj|conv1|pos_drop|norm_pre|pre_norm|pre_layrnorm|ln_pre)\b"),
        ("stem", r"encoder\.(pos_embed\w*|norm_pre)\b"),
        (
            "block",
            r"(encoder\.|transformer\.|model\.)*(layers?|blocks?|resblocks|h)[._](encoder_layer_)?(?P<b>\d+)\.(?!\d|blocks\.|layers\.|downsample)",
        ),
        ("block", r"blocks\.(?P<s>\d+)\.(?P<b>\d+)\."),
        ("final", r"encoder\.(ln|layernorm|layer_norm|norm)\b"),
        ("final", r"(ln1|norm1)\."),
    ),
    _scheme(
        "Swin, PiT",
        ("stem", r"(patch_embed\w*|embeddings)\b"),
        ("before", r"layers[._](?P<s>\d+)\.downsample\."),
        ("next", r"(encoder\.layers|stages)\.(?P<s>\d+)\.downsample\."),
        ("before", r"transformers\.(?P<s>\d+)\.pool\."),
        ("block", r"(encoder\.)?(layers|stages|transformers)[._](?P<s>\d+)\.blocks\.(?P<b>\d+)\."),
    ),
    _scheme(
        "SegFormer (MMSegmentation)",
        ("stem", r"layers\.0\.0\."),
        ("before", r"layers\.(?P<s>\d+)\.0\."),
        ("block", r"layers\.(?P<s>\d+)\.1\.(?P<b>\d+)\."),
        ("after", r"layers\.(?P<s>\d+)\.2\."),
    ),
    _scheme(
        "SegFormer, PVT (transformers)",
        ("stem", r"encoder\.patch_embeddings\.0\."),
        ("before", r"encoder\.patch_embeddings\.(?P<s>\d+)\."),
        ("block", r"encoder\.block\.(?P<s>\d+)\.(?P<b>\d+)\."),
        ("after", r"encoder\.layer_norm\.(?P<s>\d+)\."),
        ("final", r"encoder\.layer_norm\.\w"),
    ),
    _scheme(
        "SegFormer, PVTv2 (transformers 5)",
        ("stem", r"(encoder\.)?(stages|layers)\.0\.patch_embeddings?\."),
        ("before", r"(encoder\.)?(stages|layers)\.(?P<s>\d+)\.patch_embeddings?\."),
        ("block", r"(encoder\.)?(stages|layers)\.(?P<s>\d+)\.blocks\.(?P<b>\d+)\."),
        ("after", r"(encoder\.)?(stages|layers)\.(?P<s>\d+)\.layer_?norm\."),
    ),
    _scheme(
        "SegFormer, PVT (original)",
        ("stem", r"patch_embed1\."),
        ("before", r"(patch_embed|pos_embed)(?P<s>\d+)\b"),
        ("block", r"block(?P<s>\d+)\.(?P<b>\d+)\."),
        ("after", r"norm(?P<s>\d+)\."),
    ),
    _scheme(
        "ConvNeXt (original, MMSegmentation)",
        ("stem", r"downsample_layers\.0\."),
        ("before", r"downsample_layers\.(?P<s>\d+)\."),
        ("block", r"stages\.(?P<s>\d+)\.(?P<b>\d+)\."),
    ),
    _scheme(
        "ConvNeXt and other stages (timm, transformers)",
        ("stem", r"(stem\w*|embeddings|embedder|patch_embed\w*|norm_pre|conv1|bn1)\b"),
        ("block", r"(encoder\.)?stages[._](?P<s>\d+)\.(blocks|layers)\.(?P<b>\d+)\."),
        ("before", r"(encoder\.)?stages[._](?P<s>\d+)\.(?!\d)"),
    ),
    _scheme(
        "ResNet",
        ("stem", r"(stem|conv1|bn1|norm1)\b"),
        ("block", r"layer(?P<s>\d+)\.(?P<b>\d+)\."),
    ),
    _scheme(
        "Swin, ConvNeXt (torchvision)",
        ("stem", r"features\.0\."),
        ("before", r"features\.(?P<s>[246])\."),
        ("block", r"features\.(?P<s>[1357])\.(?P<b>\d+)\."),
        stages=7,
    ),
    _scheme(
        "DenseNet (torchvision)",
        ("stem", r"features\.(conv0|norm0)\."),
        ("block", r"features\.denseblock(?P<s>\d+)\.denselayer(?P<b>\d+)\."),
        ("next", r"features\.transition(?P<s>\d+)\."),
        ("final", r"features\.norm\d\."),
    ),
    _scheme(
        "features in a row (torchvision)",
        ("stem", r"features\.0\."),
        ("block", r"features\.(?P<b>\d+)\."),
    ),
)


def is_final_norm(name: str) -> bool:
    """Tell whether a name is that of a norm after the last block."""
    return re.match(FINAL, name) is not None or re.match(r"(head|encoder)\.(norm|ln|layernorm)\b", name) is not None


def find_scheme(names: Sequence[str], stages: bool, final_norm: str) -> dict[str, int | None] | None:
    """Return the layer ids by the first scheme that knows every name; None if there is none. A head's id is None."""
    for scheme in SCHEMES:
        roles = {name: _role(scheme, name) for name in names}
        found = [role for role in roles.values() if role is not None]
        fits = len(found) == len(roles) and any(role[0] == "block" for role in found)
        if fits and (scheme.stages is None or max(stage for _, stage, _ in found) == scheme.stages):
            return _numbered({name: role for name, role in roles.items() if role is not None}, stages, final_norm)
    return None


def closest_scheme(names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the scheme that knows most of the names, its blocks among them, and the names that it does not know."""
    best = ("", list(names))
    for scheme in SCHEMES:
        roles = {name: _role(scheme, name) for name in names}
        left = [name for name, role in roles.items() if role is None]
        if len(left) < len(best[1]) and any(role is not None and role[0] == "block" for role in roles.values()):
            best = (scheme.name, left)
    return best


Role = tuple[str, float, float]


def _role(scheme: Scheme, name: str) -> Role | None:
    for role, pattern in scheme.patterns:
        found = re.match(pattern, name)
        if found:
            place = found.groupdict()
            return role, float(place.get("s") or 0), float(place.get("b") or 0)
    return None


def _numbered(roles: dict[str, Role], stages: bool, final_norm: str) -> dict[str, int | None]:
    blocks = sorted({_place(role, stages) for role in roles.values() if role[0] == "block"})
    return {name: _depth(role, blocks, stages, final_norm == "last_block") for name, role in roles.items()}


def _depth(role: Role, blocks: Sequence[Key], stages: bool, last_block: bool) -> int | None:
    """Return the depth of one parameter; `blocks` are the places of all blocks (or stages) in order."""
    kind, place = role[0], _place(role, stages)
    if kind == "head" or (kind in ("out", "final") and not last_block):
        return None
    if kind == "stem":
        return 0
    if kind in ("before", "next"):
        return min(sum(block < place for block in blocks) + 1, len(blocks))
    return len(blocks) if kind == "final" else sum(block <= place for block in blocks)


def _place(role: Role, stages: bool) -> Key:
    kind, stage, block = role
    inside = {"before": -END, "next": -END, "after": END, "out": END}.get(kind, block)
    stage += kind == "next"
    return (stage,) if stages else (stage, inside)
