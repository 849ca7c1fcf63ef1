"""Optimizers: from a name or class to an optimizer over groups, with the fastest exact implementation that fits."""

from __future__ import annotations

import inspect
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from seg_optim.checks import check_arguments, check_flag, check_given, check_number, did_you_mean

__all__ = [
    "IMPLEMENTATIONS",
    "check_group_options",
    "check_rates",
    "find",
    "is_muon",
    "make_optimizer",
    "optimizer_options",
]

GROUP = "seg_engine.optimizers"
IMPLEMENTATIONS = ("auto", "fused", "foreach", "plain", "torch")
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
FUSED = ("Adam", "AdamW", "SGD")
NOT_NEGATIVE = (
    "momentum", "dampening", "eps", "alpha", "rho", "lambd", "t0", "lr_decay", "momentum_decay",
    "initial_accumulator_value", "tolerance_grad", "tolerance_change",
)  # fmt: skip
Factory = Callable[..., Optimizer]

FLAGS = ("foreach", "fused", "capturable", "differentiable", "maximize")
"""True, False, or None for torch's choice."""
COUNTS = ("max_iter", "history_size", "ns_steps")

logger = logging.getLogger("seg_optim")


def find(where: str, name: object, group: str, builtin: Mapping[str, Any]) -> Any:
    """Find a class by name: ours, then entry points of other packages. Classes and functions pass through.

    Args:
        where: the place in the config, for messages.
        name: the name, or what it stands for.
        group: of the entry points.
        builtin: ours by name.

    Raises:
        TypeError: it is neither a name nor callable.
        KeyError: nothing is called that.
    """
    if not (isinstance(name, str) or callable(name)):
        raise TypeError(f"{where} is {name!r}, a name or a class is needed")
    if not isinstance(name, str):
        return name
    if name in builtin:
        return builtin[name]
    points = {point.name: point for point in entry_points(group=group)}
    plain = name.rpartition(".")[2]
    for key in (name, plain):
        if key in points:
            return _loaded(points[key], f"{where}={name!r}")
        if key in builtin:
            return builtin[key]
    raise KeyError(f"{where}={name!r}: no optimizer has this name.{did_you_mean(plain, [*points, *builtin])}")


def _loaded(point: EntryPoint, what: str) -> Any:
    """Load what an entry point names; some optimizers are in newer releases of torch only."""
    try:
        return point.load()
    except AttributeError as error:
        if point.module != "torch.optim":
            raise
        told = f"torch {torch.__version__} has no torch.optim.{point.attr}: take another one, or a newer torch"
        raise KeyError(f"{what}: {told}") from error


def torch_optimizers() -> dict[str, type[Optimizer]]:
    """Return the classes of torch.optim by name; its Adafactor also as `TorchAdafactor`."""
    found = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    return found | ({"TorchAdafactor": found["Adafactor"]} if "Adafactor" in found else {})


def optimizer_options(cfg: object, where: str = "optim_wrapper.optimizer") -> tuple[Factory, dict[str, Any]]:
    """Return the class (or factory) that `optimizer=dict(type=..., ...)` names, and the rest of the dict.

    Raises:
        TypeError: the config is not a dict, or its type is neither a name nor callable.
        KeyError: nothing has that name.
    """
    if not isinstance(cfg, Mapping):
        raise TypeError(f"{where} is a {type(cfg).__name__}, a dict with a type is needed")
    options = dict(cfg)
    factory: Factory = find(f"{where}.type", options.pop("type", None), GROUP, torch_optimizers())
    check_rates(options, where)
    check_options(factory, options, where)
    if isinstance(options.get("lr"), int | float) and options["lr"] == 0:
        logger.warning("%s.lr=0: nothing is trained, unless a schedule such as OneCycleLR sets it", where)
    return factory, options


def check_rates(options: Mapping[str, Any], where: str) -> None:
    """Raise for a learning rate, weight decay or decay rate that is not a finite number of at least 0."""
    for key in ("lr", "weight_decay", "decay_rate"):
        if key in options:
            check_given(f"{where}.{key}", options[key])


def check_options(factory: Factory, options: Mapping[str, Any], where: str) -> None:
    """Raise for an option that is no number, no finite one or no truth value, where its default is one.

    Raises:
        TypeError: it is of another kind.
        ValueError: it is not finite, or negative where that means nothing.
    """
    try:
        known = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return
    for key, value in options.items():
        default = known[key].default if key in known else None
        least = 1.0 if key in COUNTS else 0.0 if key in NOT_NEGATIVE else -math.inf
        if isinstance(default, bool) or (key in FLAGS and key in known):
            check_flag(f"{where}.{key}", value)
        elif isinstance(default, int | float):
            check_given(f"{where}.{key}", value, least=least)
            if key == "momentum" and value >= 1:
                logger.warning("%s.momentum=%s: at 1 or more, steps grow without limit", where, value)
        elif isinstance(default, tuple) and (key == "betas" or _is_of_torch(factory)):
            _check_tuple(f"{where}.{key}", value, default)
        elif isinstance(default, tuple) and isinstance(value, tuple | list):
            for one in value:
                check_number(f"{where}.{key}", one)


def _is_of_torch(factory: Factory) -> bool:
    return str(getattr(factory, "__module__", "")).startswith("torch.optim")


def _check_tuple(where: str, value: object, default: tuple[Any, ...]) -> None:
    """Accept as many numbers as the default has, None where it has None."""
    if not isinstance(value, tuple | list):
        kind = type(value).__name__
        raise TypeError(f"{where}={value!r} is a {kind}, a list of {len(default)} numbers is needed, such as {default}")
    if len(value) != len(default):
        raise ValueError(f"{where}={value!r} has {len(value)} numbers, {len(default)} are needed, such as {default}")
    for index, (one, usual) in enumerate(zip(value, default, strict=True)):
        (check_number if usual is None else check_given)(f"{where}[{index}]", one)


def check_group_options(
    factory: Factory, options: Mapping[str, Any], custom: Mapping[str, Mapping[str, Any]], where: str
) -> None:
    """Raise for options of a custom key that the optimizer would refuse for all: of groups it looks at none.

    Args:
        factory: class of the optimizer.
        options: its arguments, which hold where a key does not mention them.
        custom: options by key; what the optimizer does not know is left alone.
        where: their place in the config.
    """
    if not _is_of_torch(factory):
        return
    known = inspect.signature(factory).parameters
    for key, given in custom.items():
        own = {name: value for name, value in given.items() if name in known and name != "params"}
        if not own:
            continue
        check_options(factory, own, f"{where}[{key!r}]")
        try:
            factory([nn.Parameter(torch.zeros(1, 1))], **{**options, **own})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}[{key!r}]: {_words(factory, own)} is refused: {error}") from error


def make_optimizer(
    factory: Factory, groups: Sequence[dict[str, Any]], options: Mapping[str, Any], model: nn.Module, how: str = "auto"
) -> Optimizer:
    """Make the optimizer over groups.

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
    check_arguments(f"optim_wrapper.optimizer: {_called(factory)}", factory, [*options, *chosen])
    if how == "auto" and _may_fuse(factory, options, model):
        try:
            return _learning_late(_made(factory, groups, {**options, "fused": True}))
        except RuntimeError:  # torch's word for: not on this device or not for these tensors
            chosen = {}
    return _learning_late(_made(factory, groups, {**options, **chosen}))


def _learning_late(optimizer: Optimizer) -> Optimizer:
    """Let a fused SGD take parameters whose first gradient comes after the first step, which torch's own refuses."""
    if type(optimizer) is torch.optim.SGD and optimizer.defaults.get("fused"):
        optimizer.register_step_pre_hook(_LateMomentum())
    return optimizer


class _LateMomentum:
    """Gives what learns later than the others the momentum 0, as torch does in its other implementations.

    It goes once every parameter has what it needs, so that a step does not pass through here for ever.
    """

    def __call__(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        moved = {p for p in optimizer.state if optimizer.state[p].get("momentum_buffer") is not None}
        missing = False
        for group in optimizer.param_groups:
            late = [p for p in group["params"] if p not in moved]
            missing = missing or any(group["momentum"] or p.grad is None for p in late)
            if group["momentum"] and len(late) < len(group["params"]):
                for parameter in late:
                    if parameter.grad is not None:
                        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        if not missing:  # torch is going over its table of hooks, so it gets another one
            hooks = optimizer._optimizer_step_pre_hooks
            optimizer._optimizer_step_pre_hooks = OrderedDict(each for each in hooks.items() if each[1] is not self)


def _made(factory: Factory, groups: Sequence[dict[str, Any]], options: dict[str, Any]) -> Optimizer:
    """Make the optimizer over copies of the groups; what its class refuses gets its place in the config."""
    try:
        made = factory([dict(group) for group in groups], **options)
    except (TypeError, ValueError, LookupError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"optim_wrapper.optimizer: {_words(factory, options)} is refused: {error}") from error
    if not isinstance(made, Optimizer):
        raise TypeError(f"optim_wrapper.optimizer.type: {_words(factory, options)} gives a {type(made).__name__}, "
                        "not a torch.optim.Optimizer")  # fmt: skip
    return made


def _words(factory: Factory, options: Mapping[str, Any]) -> str:
    return f"{_called(factory)}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def _called(factory: Factory) -> str:
    return getattr(factory, "__name__", repr(factory))


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
    """Tell whether a class is torch's Muon (torch 2.9 and later)."""
    return factory is getattr(torch.optim, "Muon", None)


def _may_fuse(factory: Factory, options: Mapping[str, Any], model: nn.Module) -> bool:
    known = inspect.isclass(factory) and factory.__module__.startswith("torch.optim") and factory.__name__ in FUSED
    said = {"fused", "foreach", "differentiable", "capturable"} & {key for key in options if options[key] is not None}
    said |= {"dampening"} if options.get("dampening") else set()  # which a momentum's first step leaves out
    return known and not said and not torch.are_deterministic_algorithms_enabled() and not _has_sparse(model)


def _has_sparse(model: nn.Module) -> bool:
    """Tell whether a part gets sparse gradients (walked by hand: `modules()` takes eight times as long)."""
    found: list[nn.Module] = [model]
    for module in found:  # which grows meanwhile
        if module._modules:
            found += [child for child in module._modules.values() if child is not None]
    tables = {kind for kind in set(map(type, found)) if issubclass(kind, EMBEDDINGS)}
    return bool(tables) and any(type(module) in tables and module.sparse for module in found)


def sparse_parameters(model: nn.Module) -> list[str]:
    """Return the names of the parameters that get sparse gradients."""
    return [
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse
    ]
