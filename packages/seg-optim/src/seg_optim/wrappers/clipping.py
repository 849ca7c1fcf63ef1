"""Clipping: what `clip_grad` of a config says, as a function of parameters."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from seg_optim.checks import check_arguments, check_flag, check_number

__all__ = ["clipper"]

logger = logging.getLogger("seg_optim")


def clipper(clip_grad: Mapping[str, Any]) -> Callable[[list[nn.Parameter]], Tensor | None]:
    """Make the function that clips the gradients of parameters, and returns their norm before or None.

    Args:
        clip_grad: `dict(max_norm=1.0)`, or with `type='value'` a `clip_value`; other keys go to torch's function.

    Raises:
        TypeError: an option is unknown or of another kind.
        ValueError: a number that means nothing, or none at all.

    Example:
        >>> weight = nn.Parameter(Tensor([0.0, 0.0]))
        >>> weight.grad = Tensor([3.0, 4.0])
        >>> clipper(dict(max_norm=1.0))([weight])
        tensor(5.)
    """
    if not isinstance(clip_grad, Mapping):
        raise TypeError(f"clip_grad is a {type(clip_grad).__name__}, a dict such as dict(max_norm=1.0) is needed")
    options = {key: value for key, value in clip_grad.items() if key != "type"}
    kind = clip_grad.get("type", "norm")
    if kind not in ("norm", "value"):
        raise ValueError(f"clip_grad.type={kind!r}: choose 'norm' or 'value'")
    function = nn.utils.clip_grad_norm_ if kind == "norm" else nn.utils.clip_grad_value_
    needed = "max_norm" if kind == "norm" else "clip_value"
    check_arguments(f"clip_grad (for torch's {function.__name__})", function, options)
    if options.get(needed) is None:
        raise ValueError(f"clip_grad={dict(clip_grad)} needs {needed}")
    if options[needed] != math.inf:  # which leaves the gradients alone and measures their norm
        check_number(f"clip_grad.{needed}", options[needed])
    for name in ("error_if_nonfinite", "foreach"):
        check_flag(f"clip_grad.{name}", options.get(name))
    if options.get("norm_type", math.inf) not in (math.inf, "inf"):
        check_number("clip_grad.norm_type", options["norm_type"], above=0)
    if options[needed] == 0:
        logger.warning(
            "clip_grad.%s=0 would set every gradient to 0, so that nothing is trained: it is taken as 'off'; leave "
            "clip_grad out, or give the largest value that gradients may have", needed,
        )  # fmt: skip
        options[needed] = math.inf
    if kind == "norm":
        return lambda parameters: _by_norm(parameters, options)

    def by_value(parameters: list[nn.Parameter]) -> None:
        nn.utils.clip_grad_value_(parameters, **options)

    return by_value


def _by_norm(parameters: list[nn.Parameter], options: Mapping[str, Any]) -> Tensor:
    in_parts = [one.grad for one in parameters if hasattr(one.grad, "full_tensor")]  # FSDP2
    if in_parts and float(options.get("norm_type", 2)) == math.inf:
        return _by_largest(parameters, in_parts, options)
    norm: Tensor = nn.utils.clip_grad_norm_(parameters, **options)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


@torch.no_grad()
def _by_largest(parameters: list[nn.Parameter], in_parts: list[Any], options: Mapping[str, Any]) -> Tensor:
    """Clip by the largest number of all ranks; torch finds none in a part that is empty, and breaks off."""
    grads: list[Any] = [one.grad for one in parameters if one.grad is not None]
    here = [grad.to_local() if hasattr(grad, "full_tensor") else grad for grad in grads]
    filled = [part if part.numel() else part.new_zeros(1) for part in here]
    largest = torch.stack(torch._foreach_norm(filled, math.inf)).max()
    for kind in {(grad.device_mesh, grad.placements): grad for grad in in_parts}.values():
        # gathered, as a maximum over ranks may lose a NaN
        own = largest.view([1] * kind.ndim)
        largest = type(kind).from_local(own, kind.device_mesh, kind.placements, run_check=False).full_tensor().max()
    clipped: list[Any] = [SimpleNamespace(grad=part) for part in [*filled, largest]]
    norm: Tensor = nn.utils.clip_grad_norm_(clipped, **options)
    return norm
