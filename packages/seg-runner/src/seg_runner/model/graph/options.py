"""What `compile=dict(mode='graph', ...)` says, and which runs cannot be captured: told before training starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.optim import LBFGS, Optimizer

from seg_runner.checks import flag, whole
from seg_runner.process.device import graphs_of

__all__ = ["MODE", "GraphOptions", "check_capture", "compile_options", "graph_options"]

MODE = "graph"
"""The value of `compile.mode` that is ours; the others are torch.compile's."""


@dataclass(frozen=True)
class GraphOptions:
    """Options of the graph mode, beside those of `torch.compile`.

    Attributes:
        warm_up: How often a shape of batch is trained in the ordinary way before it is captured. These are steps of
            the run like any others: memory, cuDNN's choices and the optimizer's state are there after them.
        graphs: How many shapes of batches are captured, each in a graph of its own. Others stay ordinary steps.
        stand_in: Where the device has no graphs (a CPU), record the operations of a step and repeat those. It is not
            faster: it shows without a GPU that a model can be captured, and that its results stay.
    """

    warm_up: int = 3
    graphs: int = 4
    stand_in: bool = False

    def __post_init__(self) -> None:
        whole(self.warm_up, "compile.warm_up", 1)
        whole(self.graphs, "compile.graphs", 1)
        flag(self.stand_in, "compile.stand_in")


OWN = tuple(field.name for field in fields(GraphOptions))


def graph_options(options: object) -> GraphOptions | None:
    """Return the options of the graph mode; None where `compile` asks for something else.

    >>> graph_options({"mode": "graph", "warm_up": 5})
    GraphOptions(warm_up=5, graphs=4, stand_in=False)
    >>> graph_options({"mode": "max-autotune"}) is None
    True
    """
    if not isinstance(options, Mapping) or options.get("mode") != MODE:
        return None
    return GraphOptions(**{name: options[name] for name in OWN if name in options})


def compile_options(options: object) -> dict[str, Any] | None:
    """Return what is for `torch.compile`; None where nothing is to be compiled.

    >>> compile_options(True), compile_options({"mode": "graph"}), compile_options({"mode": "graph", "dynamic": False})
    ({}, None, {'dynamic': False})
    """
    if not options:
        return None if not isinstance(options, Mapping) else {}
    if not isinstance(options, Mapping):
        return {}
    if graph_options(options) is None:
        return dict(options)
    return {name: value for name, value in options.items() if name not in (*OWN, "mode")} or None


def check_capture(options: GraphOptions, wrapper: Any, device: torch.device, ranks: int) -> None:
    """Refuse a run whose step cannot be captured.

    Args:
        options: What the config says.
        wrapper: The optimizer wrapper.
        device: Where is trained.
        ranks: How many processes train together, or are played by this one.

    Raises:
        ValueError: it cannot; the message says why, and what to write.
    """
    why = _why_not(options, wrapper, device, ranks)
    if why:
        raise ValueError(f"compile=dict(mode='graph'): {why}")


def _why_not(options: GraphOptions, wrapper: Any, device: torch.device, ranks: int) -> str:
    """Return why a step cannot be captured, and what to do; empty where it can."""
    if graphs_of(device) is None and not options.stand_in:
        return (
            f"{device.type} has no graphs. Write compile=True, or stand_in=True to try the mode without a GPU (its "
            "results, not its speed)"
        )
    if ranks > 1:
        return f"it trains in one process, and this run has {ranks}. Write compile=True"
    optimizer = getattr(wrapper, "optimizer", None)
    if not isinstance(optimizer, Optimizer):
        return f"one optimizer is captured, and {type(wrapper).__name__} has several or none. Write compile=True"
    if getattr(wrapper, "accumulative_counts", getattr(wrapper, "_accumulative_counts", 1)) != 1:
        return "each iteration must be a step: leave accumulative_counts out, or write compile=True"
    if getattr(wrapper, "scaler", None) is not None:
        return "a gradient scaler decides on the host: train with dtype='bfloat16', which needs none"
    if isinstance(optimizer, LBFGS):
        return "LBFGS computes the loss as often as it likes: take another optimizer, or write compile=True"
    needed = {"fused"} if device.type == "cpu" else {"fused", "capturable"}
    if any(not needed & set(group) for group in optimizer.param_groups):
        return (
            f"{type(optimizer).__name__} reads its learning rate on the host. Take one of torch's that knows "
            f"{' or '.join(sorted(needed))} (such as AdamW, Adam, SGD), or write compile=True"
        )
    return ""
