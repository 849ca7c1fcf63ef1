"""Layer-wise learning-rate decay: groups by depth, and the two constructors of MMSegmentation that make them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import nn

from seg_optim.constructor import DefaultOptimWrapperConstructor, Groups
from seg_optim.depth import read_depths
from seg_optim.layer_ids import (
    Depths,
    LayerIds,
    convnext_layer_wise,
    convnext_stage_wise,
    from_function,
    layer_count,
    vit_layer_wise,
)

__all__ = ["LayerDecayOptimizerConstructor", "LearningRateDecayOptimizerConstructor", "layer_groups", "undecayed"]

logger = logging.getLogger("seg_optim")
TOKENS = ("pos_embed", "cls_token")


def undecayed(name: str, parameter: nn.Parameter, skip: Iterable[str] = ()) -> bool:
    """Whether a parameter gets no weight decay: one-dimensional, a bias, or its name ends in one of `skip`."""
    return parameter.ndim <= 1 or name.endswith(".bias") or any(f".{name}".endswith(f".{token}") for token in skip)


def layer_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    depths: Depths,
    lr: float,
    weight_decay: float,
    decay_rate: float,
    plain: Callable[[str, nn.Parameter], bool],
    min_scale: float = 0.0,
) -> Groups:
    """One group per depth and kind of decay, in the order in which they first appear.

    Args:
        parameters: names and parameters.
        depths: where each lies.
        lr: rate of the head.
        weight_decay: of what is decayed.
        decay_rate: rate of a layer over that of the next.
        plain: which parameters get no weight decay.
        min_scale: no layer's scale falls below it.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in parameters:
        depth, free = depths.ids[name], plain(name, parameter)
        key = f"layer_{depth}_{'no_decay' if free else 'decay'}"
        if key not in groups:
            scale = max(min_scale, decay_rate ** (depths.last - depth))
            rates = {"weight_decay": 0.0 if free else weight_decay, "lr_scale": scale, "lr": scale * lr}
            groups[key] = {**rates, "params": [], "param_names": [], "group_name": key, "name": key}
        groups[key]["params"].append(parameter)
        groups[key]["param_names"].append(name)
    return list(groups.values())


class LearningRateDecayOptimizerConstructor(DefaultOptimWrapperConstructor):
    """Makes an OptimWrapper whose learning rates fall from the head down to the embedding.

    Keys of `paramwise_cfg`:
        decay_rate: rate of a layer over that of the next one.
        decay_type: `layer_wise` or `stage_wise`.
        num_layers: number of layers below the head, or `'auto'` to read it from the model.
        skip_tokens: see below.
        min_scale: no scale falls below it.
        layer_ids: your own function, parameter name -> depth from 0, None for the head.

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

    own_keys = ("decay_rate", "decay_type", "num_layers", "skip_tokens", "min_scale", "layer_ids", "final_norm")
    decay_types = ("layer_wise", "stage_wise")

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        if not self.paramwise_cfg:
            logger.warning("%s without paramwise_cfg: no learning rate is decayed", type(self).__name__)
            return
        missing = [key for key in ("decay_rate", "num_layers") if key not in self.paramwise_cfg]
        if missing:
            raise ValueError(f"optim_wrapper.paramwise_cfg has no {missing[0]!r}, which {type(self).__name__} needs")
        kind = self.paramwise_cfg.get("decay_type", "layer_wise")
        if kind not in (*self.decay_types, "layer_wise_vit"):
            raise ValueError(f"optim_wrapper.paramwise_cfg.decay_type={kind!r}: choose {' or '.join(self.decay_types)}")
        for key, value in (("lr", self.base_lr), ("weight_decay", self.base_wd)):
            if value is None:
                raise ValueError(f"optim_wrapper.optimizer has no {key}, which layer decay scales: add it")

    def add_params(self, params: Groups, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Append one group per depth and kind of decay for the whole model."""
        cfg = self.paramwise_cfg
        trainable = [(n, p) for n, p in module.named_parameters() if p.requires_grad or hasattr(p, "unfreezes_at")]
        skip = TOKENS if cfg.get("skip_tokens") else ()
        groups = layer_groups(
            trainable,
            self.depths(module),
            self.base_lr,
            self.base_wd,
            cfg["decay_rate"],
            partial(undecayed, skip=skip),
            cfg.get("min_scale", 0.0),
        )
        if cfg.get("fuse", True):
            for group in groups:
                del group["lr_scale"], group["param_names"], group["group_name"]
        params.extend(groups)

    def depths(self, model: nn.Module) -> Depths:
        """Where each parameter of the model lies."""
        cfg = self.paramwise_cfg
        names = [name for name, _ in model.named_parameters()]
        number, kind = layer_count(cfg["num_layers"]), cfg.get("decay_type", "layer_wise")
        function = cfg.get("layer_ids") or _reference_ids(model, kind, number)
        if function is not None:
            return from_function(names, function, number)
        return read_depths(model, number, stages=kind == "stage_wise", final_norm=cfg.get("final_norm", "head"))


class LayerDecayOptimizerConstructor(LearningRateDecayOptimizerConstructor):
    """The older name and notation: `paramwise_cfg=dict(num_layers=12, layer_decay_rate=0.9)`, always by layer."""

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        cfg = None if paramwise_cfg is None else dict(paramwise_cfg)
        if cfg and "decay_rate" not in cfg:
            if "layer_decay_rate" not in cfg:
                raise KeyError("optim_wrapper.paramwise_cfg has no 'layer_decay_rate', which layer decay needs")
            cfg["decay_rate"] = cfg.pop("layer_decay_rate")
        super().__init__(optim_wrapper_cfg, cfg and {**cfg, "decay_type": "layer_wise_vit"})


def _reference_ids(model: nn.Module, kind: str, num_layers: int | None) -> LayerIds | None:
    """MMSegmentation's own numbering for the backbones that it knows; None for others."""
    backbone = type(getattr(model, "backbone", None)).__name__
    names = [name for name, _ in model.named_parameters()]
    if "ConvNeXt" in backbone and any(name.startswith("backbone.downsample_layers") for name in names):
        if kind == "stage_wise":
            return partial(convnext_stage_wise, num_layers=0)
        return partial(convnext_layer_wise, num_layers=num_layers or _convnext_layers(names))
    if ("BEiT" in backbone or "MAE" in backbone) and kind != "stage_wise":
        return partial(vit_layer_wise, num_layers=0) if any(n.startswith("backbone.layers") for n in names) else None
    return None


def _convnext_layers(names: Iterable[str]) -> int:
    blocks = {int(name.split(".")[3]) for name in names if name.startswith("backbone.stages.2.")}
    return 3 + max(blocks, default=0) // 3 + 1
