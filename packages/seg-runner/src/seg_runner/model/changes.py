"""What is put round or into a model before training: batch norms, memory layout, activation checkpointing, compile."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from seg_runner.checks import flag
from seg_runner.errors import check_options, did_you_mean
from seg_runner.model.wrapping import unwrap

__all__ = [
    "check_compile",
    "checkpoint_activations",
    "compile_model",
    "convert_batch_norms",
    "graph_breaks",
    "init_weights",
    "join_frozen_norms",
    "modules_named",
    "revert_sync_batch_norms",
    "unwrap",
    "use_channels_last",
]


def init_weights(model: Any) -> None:
    """Let the model initialise itself, if it knows how (MMEngine's models do)."""
    own = getattr(unwrap(model), "init_weights", None)
    if callable(own):
        own()


class _AnyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm for any number of dimensions, which is what SyncBatchNorm accepts."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected an input of at least 2 dimensions, got {input.dim()}")


def revert_sync_batch_norms(model: nn.Module) -> tuple[nn.Module, int]:
    """The model with every SyncBatchNorm turned into plain batch norm, and how many there were.

    SyncBatchNorm needs several processes on accelerators; alone, or on a CPU, it raises. Names, weights and
    running statistics stay as they are.
    """
    return _swap(model, _is_sync, lambda old: _copy_norm(old, _AnyBatchNorm))


def convert_batch_norms(model: nn.Module) -> tuple[nn.Module, int]:
    """The model with every batch norm turned into `torch.nn.SyncBatchNorm`, and how many there were."""
    return _swap(
        model,
        lambda module: isinstance(module, nn.modules.batchnorm._BatchNorm) and not _is_sync(module),
        lambda old: _copy_norm(old, nn.SyncBatchNorm),
    )


def _is_sync(module: nn.Module) -> bool:
    return isinstance(module, nn.SyncBatchNorm) or (
        type(module).__name__ == "SyncBatchNorm" and hasattr(module, "running_mean")
    )


def _swap(
    model: nn.Module, wanted: Callable[[nn.Module], bool], make: Callable[[Any], nn.Module]
) -> tuple[nn.Module, int]:
    if wanted(model):
        return make(model), 1
    count = 0
    for name, child in model.named_children():
        new, inside = _swap(child, wanted, make)
        count += inside
        if new is not child:
            setattr(model, name, new)
    return model, count


def _copy_norm(old: Any, kind: type[nn.modules.batchnorm._BatchNorm]) -> nn.Module:
    new = kind(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    if old.affine:
        new.weight, new.bias = old.weight, old.bias
    new.running_mean, new.running_var = old.running_mean, old.running_var
    new.num_batches_tracked = old.num_batches_tracked
    new.training = old.training
    for extra in ("qconfig",):
        if hasattr(old, extra):
            setattr(new, extra, getattr(old, extra))
    return new


def use_channels_last(model: nn.Module) -> nn.Module:
    """Lay 4-dimensional weights out channels-last; convolutions then keep that layout for their outputs."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def checkpoint_activations(model: nn.Module, names: str | Iterable[str]) -> list[str]:
    """Compute the activations inside the named modules again in the backward pass instead of keeping them.

    Args:
        model: The model; its state dict keeps its keys.
        names: Module names, or patterns with `*` (`backbone.stages.*`).

    Returns:
        The names of the modules that were found.

    Raises:
        ValueError: a name or pattern matches no module.
    """
    found = modules_named(model, names, "activation_checkpointing")
    for module in found.values():
        module.forward = partial(_recompute, module.forward)
    return list(found)


def modules_named(model: nn.Module, names: str | Iterable[str], key: str) -> dict[str, Any]:
    """The modules that names, or patterns with `*`, stand for.

    Raises:
        ValueError: a name or pattern of this config key matches no module.
    """
    modules = {name: module for name, module in unwrap(model).named_modules() if name}
    found: dict[str, Any] = {}
    for pattern in [names] if isinstance(names, str) else list(names):
        matched = [name for name in modules if fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            raise ValueError(f"{key}: no module is called {pattern!r}.{did_you_mean(pattern, modules)}")
        found |= {name: modules[name] for name in matched}
    return found


def _recompute(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def check_compile(options: Any, where: str = "", from_config: bool = False) -> None:
    """Refuse options that torch.compile does not know.

    Args:
        options: True, False, or keywords of `torch.compile`.
        where: Where they stand, for messages.
        from_config: They are words of a config, which may run nothing.

    Raises:
        TypeError: a keyword that it does not take.
        ValueError: a value that it does not know, such as the name of a backend, or that no config may give.
    """
    if not isinstance(options, Mapping):
        return
    check_options(torch.compile, options, f"compile{where}", hidden=("model",))
    if from_config:
        _refuse_programs(options.get("options"), where)
    for name in ("fullgraph", "disable"):
        flag(options.get(name, False), f"compile.{name}")
    backend = options.get("backend", "inductor")
    known = torch.compiler.list_backends(exclude_tags=())
    if not callable(backend) and backend not in known:
        near = did_you_mean(str(backend), known)
        raise ValueError(f"compile.backend{where} must be one of {', '.join(known)}, not {backend!r}.{near}")
    try:
        torch.compile(torch.nn.Identity(), **options)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"compile{where}={dict(options)!r} is nothing that torch.compile takes: {error}") from error


def _refuse_programs(options: Any, where: str) -> None:
    """Among the settings of a backend are programs that it starts and folders that it imports from: `cpp.cxx`."""
    if not isinstance(options, Mapping | None):
        raise TypeError(f"compile.options{where} must be a dict of the backend's settings, not {options!r}")
    for name, value in (options or {}).items():
        if not (value is None or isinstance(value, bool | int | float) or callable(value)):
            raise ValueError(
                f"compile.options[{name!r}]{where} is {value!r}: a config may set switches and numbers here, since "
                "a text can name a program that the compiler starts. Set it in code: torch._inductor.config"
            )


def compile_model(model: nn.Module, options: Any) -> None:
    """Compile the forward pass in place, for training and inference; names in checkpoints stay as they are.

    Args:
        model: The model. One that says what to compile (`compile_target`) has that compiled.
        options: True, or keywords of `torch.compile`.
    """
    bare = unwrap(model)
    target = getattr(bare, "compile_target", bare)
    target.compile(**(dict(options) if isinstance(options, Mapping) else {}))


@contextmanager
def graph_breaks() -> Iterator[dict[str, int]]:
    """Count meanwhile where compiling broke off: the first line of each reason, and how often. Filled at the end."""
    from torch._dynamo.utils import counters

    before, found = Counter(counters["graph_break"]), dict[str, int]()
    try:
        yield found
    finally:
        for reason, count in (Counter(counters["graph_break"]) - before).items():
            line = reason.strip().partition("\n")[0]
            found[line] = found.get(line, 0) + count


def batch_size_of(parts: Mapping[str, Any], loader: Any) -> int | None:
    """Samples in a batch, as the loader or its config says; None where neither does."""
    for source in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(source, "batch_size", None)
        if isinstance(size, int):
            return size
    cfg = parts.get("train_dataloader")
    return cfg.get("batch_size") if isinstance(cfg, Mapping) else None


def scale_lr(wrapper: Any, cfg: Any, batch_size: int | None, runner: Any) -> None:
    """Multiply every learning rate by the actual over the base batch size (`auto_scale_lr`).

    Raises:
        ValueError: the base or the actual batch size is not known.
    """
    if not cfg or not cfg.get("enable", False):
        return
    base = cfg.get("base_batch_size")
    if base is None:
        raise ValueError(
            "auto_scale_lr needs base_batch_size, the batch size that the learning rates were chosen for; it has "
            f"{', '.join(f'{key}={value!r}' for key, value in cfg.items())}"
        )
    if batch_size is None:
        raise ValueError("auto_scale_lr cannot see the batch size: give train_dataloader a batch_size")
    factor = batch_size * runner.world_size / base
    if factor != 1 and runner.param_schedulers:
        raise ValueError(
            f"auto_scale_lr would multiply the learning rates by {factor:g}, but the schedulers were made from those "
            "before: give param_scheduler as configs, or scale the rate where the optimizer is made"
        )
    for each in wrapper.values() if hasattr(wrapper, "values") else [wrapper]:
        for group in each.optimizer.param_groups:
            group["lr"] *= factor
            if "initial_lr" in group:
                group["initial_lr"] *= factor
    runner.logger.info(
        "auto_scale_lr: learning rates times %g (batch %d, base %d)", factor, batch_size * runner.world_size, base
    )


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def join_frozen_norms(model: nn.Module, names: str | Iterable[str]) -> list[str]:
    """Compute each convolution with the batch norm behind it as one convolution, while the norm is in evaluation mode.

    For training with frozen statistics (`norm_eval=True`): the convolution's output is not kept, so a step takes less
    memory and time. Weights, gradients and keys of checkpoints stay as they are; values differ by rounding. A norm that
    trains is computed as ever.

    Formula: You et al. 2023, arXiv 2305.11624, "tune mode": with g = gamma / sqrt(variance + eps), the weight is W g
    and the bias beta + (b - mean) g.

    Args:
        model: The model.
        names: Names of modules, or patterns with `*`, in which pairs are looked for.

    Returns:
        The names of the convolutions that were joined.

    Raises:
        ValueError: a name or pattern matches no module.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
        >>> join_frozen_norms(net, "0")
        ['0.0']
    """
    known = {id(module): name for name, module in model.named_modules()}
    joined: list[str] = []
    for module in modules_named(model, names, "efficient_conv_bn_eval").values():
        for conv, norm in _pairs(module):
            if known[id(conv)] not in joined:
                _join(conv, norm)
                joined.append(known[id(conv)])
    return joined


def _pairs(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Each convolution whose output goes into one batch norm and nowhere else; both are called once in a pass."""
    from torch.fx import symbolic_trace

    try:
        graph: Any = symbolic_trace(module).graph
    except Exception:  # its path depends on its input; the parts of it may be plain
        for child in module.children():
            yield from _pairs(child)
        return
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    for node in calls:
        before: Any = node.args[0] if node.args else None
        if before not in calls or len(before.users) != 1 or times[node.target] + times[before.target] != 2:
            continue
        conv, norm = module.get_submodule(before.target), module.get_submodule(node.target)
        if isinstance(conv, CONVOLUTIONS) and isinstance(norm, nn.modules.batchnorm._BatchNorm):
            yield conv, norm


def _join(conv: Any, norm: Any) -> None:
    alone, normed = conv.forward, norm.forward

    def convolve(images: torch.Tensor) -> torch.Tensor:
        joint = _is_frozen(norm)
        features: torch.Tensor = conv._conv_forward(images, *_joint_weights(conv, norm)) if joint else alone(images)
        return features

    def normalise(features: torch.Tensor) -> torch.Tensor:
        return features if _is_frozen(norm) else normed(features)

    conv.forward, norm.forward = convolve, normalise


def _is_frozen(norm: Any) -> bool:
    return not norm.training and norm.running_var is not None


def _joint_weights(conv: Any, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    factor = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        factor = factor * norm.weight
    bias = -norm.running_mean * factor if conv.bias is None else (conv.bias - norm.running_mean) * factor
    weight = conv.weight * factor.reshape(-1, *[1] * (conv.weight.dim() - 1))
    return weight, bias + norm.bias if norm.affine else bias
