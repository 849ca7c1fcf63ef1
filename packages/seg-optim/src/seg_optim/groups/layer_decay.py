"""Layer-wise learning-rate decay: groups by depth, and the two constructors of MMSegmentation that make them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from seg_optim.checks import check_choice, check_number
from seg_optim.groups.constructor import DefaultOptimWrapperConstructor, Groups
from seg_optim.groups.depth import read_depths
from seg_optim.groups.layer_ids import (
    Depths,
    LayerIds,
    convnext_layer_wise,
    convnext_stage_wise,
    from_function,
    layer_count,
    uncompiled,
    vit_layer_wise,
)
from seg_optim.groups.rules import KIND_KEYS, Decision, names_without_decay, subjects
from seg_optim.unwrap import unwrap

__all__ = [
    "Decay",
    "LayerDecayOptimizerConstructor",
    "LearningRateDecayOptimizerConstructor",
    "check_options",
    "has_no_decay",
    "layer_groups",
    "select",
]

logger = logging.getLogger("seg_optim")
TOKENS = ("pos_embed", "cls_token")
RULE_KEYS = ("custom_keys", *KIND_KEYS)
CHOICES = {"final_norm": ("head", "last_block"), "style": ("torch", "timm")}


def has_no_decay(name: str, parameter: nn.Parameter, skip: Iterable[str] = ()) -> bool:
    """Tell whether a parameter gets no weight decay: one-dimensional, a bias, or its name ends in one of `skip`."""
    return parameter.ndim <= 1 or name.endswith(".bias") or any(f".{name}".endswith(f".{token}") for token in skip)


@dataclass(frozen=True)
class Decay:
    """How rates fall with the distance to the head.

    Attributes:
        lr: learning rate of the head.
        weight_decay: of what is decayed.
        rate: learning rate of a layer over that of the next.
        min_scale: no layer's scale falls below it.
        head: further factor on the head's learning rate.
    """

    lr: float
    weight_decay: float
    rate: float
    min_scale: float = 0.0
    head: float = 1.0

    def scale(self, distance: int) -> float:
        """Return the factor on the learning rate so many layers below the head."""
        return max(self.min_scale, self.rate**distance) * (1.0 if distance else self.head)


def layer_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    depths: Depths,
    decay: Decay,
    plain: Callable[[str, nn.Parameter], bool],
    decisions: Mapping[str, Decision],
) -> Groups:
    """Return one group per depth and kind of decay, in the order in which they first appear.

    Args:
        parameters: names and parameters.
        depths: where each lies.
        decay: the rates.
        plain: which parameters get no weight decay.
        decisions: what further rules say about each; they multiply the learning rate and decide the weight decay.
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for name, parameter in parameters:
        depth, decision = depths.ids[name], decisions.get(name, Decision())
        share = decision.decay_mult if decision.decay_mult is not None else float(not plain(name, parameter))
        times = 1.0 if decision.lr_mult is None else decision.lr_mult
        key = f"layer_{depth}_{'decay' if share else 'no_decay'}"
        key += f"_x{share:g}" * (share not in (0, 1)) + f"_lr_x{times:g}" * (times != 1)
        group = groups.setdefault((key, repr(decision.extra)), {})
        if not group:
            scale = decay.scale(depths.last - depth) * times
            group.update(weight_decay=decay.weight_decay * share, lr_scale=scale, lr=scale * decay.lr)
            group.update(params=[], param_names=[], group_name=key, name=key)
            group.update({k: value for k, value in decision.extra.items() if k not in ("lr_mult", "decay_mult")})
        group["params"].append(parameter)
        group["param_names"].append(name)
    return list(groups.values())


def select(options: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return those of some options that are there."""
    return {key: options[key] for key in keys if key in options}


def check_options(options: Mapping[str, Any], where: str) -> None:
    """Raise for options of layer decay with a wrong type or value.

    Args:
        options: any of `decay_rate`, `min_scale`, `head`, `final_norm`, `layer_ids` and `style`.
        where: put before the name of an option in messages.
    """
    for key in ("decay_rate", "min_scale", "head"):
        if key in options and options[key] is None:
            raise TypeError(f"{where}{key} is None, a number is needed")
        check_number(where + key, options.get(key), most=1 if key == "min_scale" else math.inf)
    if options.get("decay_rate") == 0:
        raise ValueError(f"{where}decay_rate=0 would freeze every layer but the last: 1 is no decay, 0.9 is usual")
    if (options.get("decay_rate") or 0) > 1:
        logger.warning("%sdecay_rate=%s is above 1: the first layers learn fastest", where, options["decay_rate"])
    for key in select(options, CHOICES):
        check_choice(where + key, options[key], CHOICES[key])
    function = options.get("layer_ids")
    if function is not None and not callable(function):
        raise TypeError(f"{where}layer_ids={function!r}: a function, parameter name -> depth from 0, is needed")


class LearningRateDecayOptimizerConstructor(DefaultOptimWrapperConstructor):
    """Makes an OptimWrapper whose learning rates fall from the head down to the embedding.

    Keys of `paramwise_cfg`:
        decay_rate: rate of a layer over that of the next one.
        decay_type: `layer_wise` or `stage_wise`.
        num_layers: number of layers below the head, or `'auto'` to read it from the model.
        skip_tokens: see below.
        no_weight_decay: True: spare what the model lists in `no_weight_decay()` or `no_weight_decay_keywords()`.
        min_scale: no scale falls below it.
        head: further factor on the head's learning rate.
        final_norm: whether the norm after the last block learns like the `'head'` or the `'last_block'`, where the
            names and not MMSegmentation's own numbering decide.
        layer_ids: your own function, parameter name -> depth from 0, None for the head.
        compose: True: `custom_keys` and the rules on kinds of layers act too. They multiply the learning rate of the
            layer and decide the weight decay. Otherwise they do nothing, as in MMSegmentation, and one line says so.

    ConvNeXt, BEiT and MAE get the ids, scales and decays that MMSegmentation gives. With `stage_wise` that means that
    the last stage lies `num_layers - 3` decays below the head, as if the stages were layers; `num_layers='auto'`
    closes the gap. One-dimensional parameters and biases are not decayed. MMSegmentation also means to spare
    `cls_token` and `pos_embed`, but compares the wrong names, so `backbone.cls_token` and `backbone.pos_embed` are
    decayed; that is kept, and `skip_tokens=True` spares them.

    Other backbones are numbered by their names, see `layer_decay_param_groups`.

    Raises:
        ValueError: a key is unknown or missing, the names match no scheme, or the model has more layers than
            `num_layers`.
    """

    own_keys = (
        "decay_rate", "decay_type", "num_layers", "skip_tokens", "min_scale", "head", "layer_ids", "final_norm"
    )  # fmt: skip
    decay_types = ("layer_wise", "stage_wise")

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        if not self.paramwise_cfg:
            logger.warning("%s without paramwise_cfg: no learning rate is decayed", type(self).__name__)
            return
        missing = [key for key in ("decay_rate", "num_layers") if key not in self.paramwise_cfg]
        if missing:
            raise ValueError(f"optim_wrapper.paramwise_cfg has no {missing[0]!r}, which {type(self).__name__} needs")
        check_options(self.paramwise_cfg, "optim_wrapper.paramwise_cfg.")
        if self.paramwise_cfg.get("decay_type") != "layer_wise_vit":
            kind = self.paramwise_cfg.get("decay_type", "layer_wise")
            check_choice("optim_wrapper.paramwise_cfg.decay_type", kind, self.decay_types)
        for key, value in (("lr", self.base_lr), ("weight_decay", self.base_wd)):
            if value is None:
                raise ValueError(f"optim_wrapper.optimizer has no {key}, which layer decay scales: add it")
        idle = [key for key in RULE_KEYS if self.paramwise_cfg.get(key) is not None]
        if idle and not self.paramwise_cfg.get("compose"):
            names = ", ".join(idle)
            logger.warning("%s ignores %s: set compose=True to use them too", type(self).__name__, names)

    def add_params(self, params: Groups, module: nn.Module, *args: object, **kwargs: object) -> None:
        """Append one group per depth and kind of decay for the whole model."""
        cfg = self.paramwise_cfg
        trainable = [(n, p) for n, p in module.named_parameters() if p.requires_grad or hasattr(p, "unfreezes_at")]
        skip = set(TOKENS if cfg.get("skip_tokens") else ())
        skip |= names_without_decay(module) if cfg.get("no_weight_decay") else set()
        shares = select(cfg, ("min_scale", "head"))
        decay = Decay(self.base_lr or 0.0, self.base_wd or 0.0, cfg["decay_rate"], **shares)
        known = subjects(module, self.rules) if cfg.get("compose") else {}
        decisions = {name: self.rules.decide(subject) for name, subject in known.items()}
        groups = layer_groups(trainable, self.depths(module), decay, partial(has_no_decay, skip=skip), decisions)
        if cfg.get("fuse", True):
            for group in groups:
                del group["lr_scale"], group["param_names"], group["group_name"]
        params.extend(groups)

    def depths(self, model: nn.Module) -> Depths:
        """Tell where each parameter of the model lies."""
        cfg = self.paramwise_cfg
        names = [name for name, _ in model.named_parameters()]
        number = layer_count(cfg["num_layers"], "optim_wrapper.paramwise_cfg.")
        kind = cfg.get("decay_type", "layer_wise")
        function = cfg.get("layer_ids") or _reference_ids(model, kind, number)
        if function is not None:
            return from_function(names, function, number)
        return read_depths(model, number, stages=kind == "stage_wise", final_norm=cfg.get("final_norm", "head"))


class LayerDecayOptimizerConstructor(LearningRateDecayOptimizerConstructor):
    """The older name and notation: `paramwise_cfg=dict(num_layers=12, layer_decay_rate=0.9)`, always by layer."""

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        cfg = dict(paramwise_cfg or {})
        if cfg and "decay_rate" not in cfg:
            if "layer_decay_rate" not in cfg:
                raise KeyError("optim_wrapper.paramwise_cfg has no 'layer_decay_rate', which layer decay needs")
            cfg["decay_rate"] = cfg.pop("layer_decay_rate")
        super().__init__(optim_wrapper_cfg, cfg and {**cfg, "decay_type": "layer_wise_vit"})


def _reference_ids(model: nn.Module, kind: str, num_layers: int | None) -> LayerIds | None:
    """Return MMSegmentation's own numbering for the backbones that it knows; None for others."""
    part = getattr(model, "backbone", None)
    backbone = type(unwrap(part) if isinstance(part, nn.Module) else part).__name__
    names = [uncompiled(name) for name, _ in model.named_parameters()]
    if "ConvNeXt" in backbone and any(name.startswith("backbone.downsample_layers") for name in names):
        if kind == "stage_wise":
            return convnext_stage_wise
        return partial(convnext_layer_wise, num_layers=num_layers or _convnext_layers(names))
    if ("BEiT" in backbone or "MAE" in backbone) and kind != "stage_wise":
        return vit_layer_wise if any(n.startswith("backbone.layers") for n in names) else None
    return None


def _convnext_layers(names: Iterable[str]) -> int:
    blocks = {int(name.split(".")[3]) for name in names if name.startswith("backbone.stages.2.")}
    return 3 + max(blocks, default=0) // 3 + 1
