"""Optimizers: from a name or class to an optimizer over groups, with the fastest exact implementation that fits."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from seg_optim.suggest import near

__all__ = ["IMPLEMENTATIONS", "check_rates", "find", "is_muon", "make_optimizer", "optimizer_options"]

GROUP = "seg_engine.optimizers"
IMPLEMENTATIONS = ("auto", "fused", "foreach", "plain", "torch")
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
FUSED = ("Adam", "AdamW", "SGD")
Factory = Callable[..., Optimizer]


def find(kind: str, name: Any, group: str, builtin: Mapping[str, Any]) -> Any:
    """A class by its name: ours, then what packages registered as entry points. Other things pass through.

    Raises:
        KeyError: nothing is called that.
    """
    if not isinstance(name, str):
        return name
    if name in builtin:
        return builtin[name]
    points = {point.name: point for point in entry_points(group=group)}
    plain = name.rpartition(".")[2]
    for key in (name, plain):
        if key in points:
            return points[key].load()
        if key in builtin:
            return builtin[key]
    raise KeyError(f"no {kind} is called {name!r}.{near(plain, [*points, *builtin])}")


def torch_optimizers() -> dict[str, type[Optimizer]]:
    """The classes of torch.optim by name; its Adafactor also as `TorchAdafactor`."""
    found = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    return found | ({"TorchAdafactor": found["Adafactor"]} if "Adafactor" in found else {})


def optimizer_options(cfg: Any) -> tuple[Factory, dict[str, Any]]:
    """The class (or factory) that `optimizer=dict(type=..., ...)` names, and the rest of the dict.

    Raises:
        TypeError: the config is not a dict, or its type is neither a name nor callable.
        KeyError: nothing has that name.
    """
    if not isinstance(cfg, Mapping):
        raise TypeError(f"optim_wrapper.optimizer is a {type(cfg).__name__}, a dict with a type is needed")
    options = dict(cfg)
    kind = options.pop("type", None)
    if not (isinstance(kind, str) or callable(kind)):
        raise TypeError(f"optim_wrapper.optimizer.type is {kind!r}, a name or a class is needed")
    factory: Factory = find("optimizer", kind, GROUP, torch_optimizers())
    check_rates(options, "optim_wrapper.optimizer")
    return factory, options


def check_rates(options: Mapping[str, Any], where: str) -> None:
    """Raise ValueError for a learning rate or weight decay that is not a finite number of at least 0."""
    for key in ("lr", "weight_decay", "decay_rate"):
        value = options.get(key)
        if value is None or isinstance(value, torch.Tensor):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{where}.{key}={value!r} is a {type(value).__name__}, a number is needed")
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{where}.{key}={value}: a finite number of at least 0 is needed")


def make_optimizer(
    factory: Factory, groups: Sequence[dict[str, Any]], options: Mapping[str, Any], model: nn.Module, how: str = "auto"
) -> Optimizer:
    """The optimizer over groups.

    Args:
        factory: class of the optimizer.
        groups: its parameter groups.
        options: its other arguments.
        model: looked at for sparse gradients.
        how: `auto` takes the fused implementation where class and device have one and nothing speaks against it
            (deterministic algorithms, sparse gradients, `foreach`/`fused` in the options); `fused`, `foreach`,
            `plain` set it; `torch` leaves torch's own default, whose results equal MMEngine's to the last bit.
    """
    check_fits(factory, groups, model)
    if how not in IMPLEMENTATIONS:
        raise ValueError(f"optim_wrapper.implementation={how!r}: choose one of {', '.join(IMPLEMENTATIONS)}")
    chosen = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}.get(how, {})
    if how == "auto" and _may_fuse(factory, options, model):
        try:
            return factory(_copies(groups), **options, fused=True)
        except RuntimeError:  # torch's word for: not on this device or not for these tensors
            chosen = {}
    return factory(_copies(groups), **options, **chosen)


def check_fits(factory: Factory, groups: Sequence[dict[str, Any]], model: nn.Module) -> None:
    """Raise ValueError for parameters that an optimizer cannot take."""
    if factory is torch.optim.LBFGS and len(groups) > 1:
        raise ValueError(f"LBFGS takes one group, paramwise_cfg makes {len(groups)}: leave it out, or use AdamW")
    if factory is not torch.optim.SparseAdam and not is_muon(factory):
        return
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = [(names[id(p)], p) for group in groups for p in group["params"]]
    if factory is torch.optim.SparseAdam:
        sparse = set(sparse_parameters(model))
        _refuse([n for n, _ in taken if n not in sparse], "SparseAdam takes sparse gradients only, but these are dense")
    if is_muon(factory):
        flat = [name for name, parameter in taken if parameter.ndim != 2]
        _refuse(flat, "Muon takes 2-D weights only: give the others optimizer.rest=dict(type='AdamW', lr=...)")


def _refuse(names: Sequence[str], why: str) -> None:
    if names:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise ValueError(f"{why}: {', '.join(names[:8])}{more}")


def is_muon(factory: Factory) -> bool:
    """Whether a class is torch's Muon (torch 2.9 and later)."""
    return factory is getattr(torch.optim, "Muon", None)


def _copies(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict(group) for group in groups]


def _may_fuse(factory: Factory, options: Mapping[str, Any], model: nn.Module) -> bool:
    known = inspect.isclass(factory) and factory.__module__.startswith("torch.optim") and factory.__name__ in FUSED
    said = {"fused", "foreach", "differentiable", "capturable"} & {key for key in options if options[key] is not None}
    return known and not said and not torch.are_deterministic_algorithms_enabled() and not _has_sparse(model)


def _has_sparse(model: nn.Module) -> bool:
    """Whether a part gets sparse gradients (walked by hand: `modules()` takes eight times as long)."""
    left: list[nn.Module | None] = [model]
    for module in left:  # which grows meanwhile
        if module is None:
            continue
        if isinstance(module, EMBEDDINGS) and module.sparse:
            return True
        left += module._modules.values()
    return False


def sparse_parameters(model: nn.Module) -> list[str]:
    """Names of the parameters that get sparse gradients."""
    return [
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse
    ]
