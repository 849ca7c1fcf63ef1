"""Parameter groups as plain functions, for people with their own training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from torch import nn

from seg_optim.checks import check_flag, unknown_key
from seg_optim.groups.checks import check_model
from seg_optim.groups.constructor import DefaultOptimWrapperConstructor, Groups
from seg_optim.groups.depth import read_depths
from seg_optim.groups.layer_decay import Decay, check_options, has_no_decay, layer_groups, select
from seg_optim.groups.layer_ids import Depths, LayerIds, from_function, layer_count
from seg_optim.groups.rules import names_without_decay
from seg_optim.unwrap import unwrap
from seg_optim.wrappers.optimizers import check_rates
from seg_optim.wrappers.state_layout import Order

__all__ = ["layer_decay_param_groups", "param_groups"]


class _Groups(DefaultOptimWrapperConstructor):
    """The default constructor, stopped before it makes an optimizer."""

    def wrap(self, model: nn.Module, groups: Groups, names: dict[int, str], reference: Order) -> Any:
        return self.fused(groups)


def param_groups(
    model: nn.Module, lr: float, weight_decay: float, paramwise_cfg: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the parameter groups by the rules of `paramwise_cfg`, ready for any torch optimizer.

    Args:
        model: the model, maybe inside DDP or torch.compile.
        lr: base learning rate.
        weight_decay: base weight decay.
        paramwise_cfg: the rules, see `DefaultOptimWrapperConstructor`. Here `no_weight_decay` and
            `bypass_duplicate` are True unless they are given.

    Returns:
        As many groups as there are distinct settings, each with `params`, `name`, `lr` and `weight_decay`.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> groups = param_groups(net, lr=0.1, weight_decay=0.05, paramwise_cfg=dict(norm_decay_mult=0.0))
        >>> [(group["name"], group["lr"], group["weight_decay"]) for group in groups]
        [('base', 0.1, 0.05), ('no_decay', 0.1, 0.0)]
    """
    check_rates({"lr": lr, "weight_decay": weight_decay}, "param_groups")
    if not isinstance(paramwise_cfg, Mapping | None):
        raise TypeError(f"param_groups: paramwise_cfg is a {type(paramwise_cfg).__name__}, a dict is needed")
    optimizer = {"type": "AdamW", "lr": lr, "weight_decay": weight_decay}
    cfg = {"bypass_duplicate": True, "no_weight_decay": True, **(paramwise_cfg or {})}
    groups = _Groups({"optimizer": optimizer}, cfg)(model)
    return [{"lr": lr, "weight_decay": weight_decay, **group} for group in groups]  # type: ignore[attr-defined]


class DecayOptions(TypedDict, total=False):
    """The keyword arguments of `layer_decay_param_groups`."""

    layer_ids: LayerIds | None
    final_norm: str
    min_scale: float
    head: float
    style: str
    no_weight_decay: bool
    num_layers: int | str


def layer_decay_param_groups(
    model: nn.Module, lr: float, weight_decay: float, decay_rate: float, **options: Unpack[DecayOptions]
) -> list[dict[str, Any]]:
    """Return the parameter groups whose learning rate falls by `decay_rate` from layer to layer, from the head down.

    The depth is read from the model: its own `get_layer_id(name)`, timm's `group_matcher`, or the naming scheme of
    its backbone, wherever in the model that lies. Frozen parameters are left out and do not move the others.

    Args:
        model: a backbone, or a model that holds one; maybe inside DDP or torch.compile.
        lr: learning rate of the head.
        weight_decay: of all but biases and one-dimensional parameters.
        decay_rate: rate of a layer over that of the next one.
        **options: any of the following.
        layer_ids: your own depths: parameter name -> id from 0, None for the head.
        final_norm: whether the norm after the last block learns like the `'head'` or like the `'last_block'` (timm).
        min_scale: no layer's scale falls below it.
        head: further factor on the head's rate.
        style: `'torch'`: `lr` is already scaled and there is no `lr_scale`; `'timm'`: base `lr` and `lr_scale`, for
            timm's schedulers.
        no_weight_decay: spare the parameters that the model names in `no_weight_decay()` and
            `no_weight_decay_keywords()`.
        num_layers: layers below the head, or `'auto'`.

    Returns:
        One group per depth and kind of decay, with `params`, `name`, `lr` and `weight_decay`.

    Raises:
        TypeError: an option is unknown.
        ValueError: no scheme fits the names (they are listed), or a rate is not a finite number of at least 0.

    Example:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.blocks = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(2))
        ...         self.head = nn.Linear(2, 1, bias=False)
        >>> groups = layer_decay_param_groups(Net(), lr=1.0, weight_decay=0.05, decay_rate=0.5)
        >>> [(group["name"], group["lr"]) for group in groups]
        [('layer_1_decay', 0.25), ('layer_2_decay', 0.5), ('layer_3_decay', 1.0)]
    """
    check_rates({"lr": lr, "weight_decay": weight_decay, "decay_rate": decay_rate}, "layer_decay_param_groups")
    _check_options(options)
    model = unwrap(model)
    check_model(model)
    depths = _depths(model, options)
    wishes = names_without_decay(model) if options.get("no_weight_decay", True) else set()
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad or hasattr(p, "unfreezes_at")]
    decay = Decay(lr, weight_decay, decay_rate, **select(options, ("min_scale", "head")))
    groups = layer_groups(trainable, depths, decay, lambda name, p: has_no_decay(name, p) or name in wishes, {})
    for group in groups:
        del group["param_names"], group["group_name"]
        if options.get("style") == "timm":
            group["lr"] = lr
        else:
            del group["lr_scale"]
    return groups


def _depths(model: nn.Module, options: DecayOptions) -> Depths:
    number = layer_count(options.get("num_layers", "auto"))
    function = options.get("layer_ids")
    if function is not None:
        return from_function([name for name, _ in model.named_parameters()], function, number)
    return read_depths(model, number, final_norm=options.get("final_norm", "head"))


def _check_options(options: DecayOptions) -> None:
    for key in options:
        if key not in DecayOptions.__annotations__:
            raise TypeError(unknown_key(key, DecayOptions.__annotations__, "an argument of layer_decay_param_groups"))
    check_options(options, "layer_decay_param_groups: ")
    check_flag("layer_decay_param_groups: no_weight_decay", options.get("no_weight_decay"))
