"""build_optim_wrapper: a wrapper from a model and the config's `optim_wrapper` dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from seg_optim.groups.constructor import DefaultOptimWrapperConstructor, ForceDefaultOptimWrapperConstructor
from seg_optim.groups.layer_decay import LayerDecayOptimizerConstructor, LearningRateDecayOptimizerConstructor
from seg_optim.wrappers.optimizers import find
from seg_optim.wrappers.wrapper import OptimWrapper

__all__ = ["build_optim_wrapper"]

CONSTRUCTORS = {
    cls.__name__: cls
    for cls in (
        DefaultOptimWrapperConstructor,
        ForceDefaultOptimWrapperConstructor,
        LayerDecayOptimizerConstructor,
        LearningRateDecayOptimizerConstructor,
    )
}


def build_optim_wrapper(model: nn.Module, cfg: Mapping[str, Any]) -> OptimWrapper:
    """Make an OptimWrapper for `model` from a config's `optim_wrapper` dict as it stands.

    Names are looked up in this package, in torch.optim and in the entry points `seg_engine.optimizers`,
    `seg_engine.optim_wrappers` and `seg_engine.optim_wrapper_constructors`; a class may stand wherever a name does.

    Args:
        model: the model, maybe inside DDP or torch.compile.
        cfg: `type`, `constructor`, `paramwise_cfg`, `optimizer`, and arguments of the wrapper. It is not changed.
            `optimizer` may be a ready optimizer, which is then only wrapped.

    Raises:
        TypeError, ValueError, KeyError: something in the config is wrong; the message has the path.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> wrapper = build_optim_wrapper(net, dict(
        ...     type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01), clip_grad=dict(max_norm=1)))
        >>> wrapper.get_lr()
        {'lr': [0.01]}
    """
    if not isinstance(cfg, Mapping):
        raise TypeError(f"optim_wrapper is a {type(cfg).__name__}, a dict is needed")
    options = dict(cfg)
    name = options.pop("constructor", "DefaultOptimWrapperConstructor")
    paramwise = options.pop("paramwise_cfg", None)
    constructor = find("optim_wrapper.constructor", name, "seg_engine.optim_wrapper_constructors", CONSTRUCTORS)
    wrapper: OptimWrapper = constructor(optim_wrapper_cfg=options, paramwise_cfg=paramwise)(model)
    return wrapper
