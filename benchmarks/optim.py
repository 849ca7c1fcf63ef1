"""Optimizer work per run and per step: the bare limit, ours and MMEngine's, as ratios.

Run `python benchmarks/optim.py`; without mmengine it says so and leaves its column out. The net has the tensors of
SegFormer-B5 (about a thousand, in blocks with norms and depthwise convolutions), cut to 64 elements, so that what is
measured is the work per tensor and per group, which on a GPU is what the host thread pays. `full step` is that of
SegFormer-B2's encoder in its real size, where the memory is what counts.
"""

from __future__ import annotations

import importlib.util
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from _measure import block, paired, print_table
from seg_optim import PolyLR, build_optim_wrapper
from torch import nn

LR, DECAY = 6e-5, 0.01
KEYS = {"pos_block": {"decay_mult": 0.0}, "norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}
CFG: dict[str, Any] = {
    "type": "OptimWrapper",
    "optimizer": {"type": "AdamW", "lr": LR, "betas": (0.9, 0.999), "weight_decay": DECAY},
    "paramwise_cfg": {"custom_keys": KEYS},
    "clip_grad": {"max_norm": 1e9},
}
POLY: dict[str, Any] = {"power": 1.0, "eta_min": 0.0, "begin": 0, "end": 10**6, "by_epoch": False}
GOALS = {
    "build": "<= 2 x bare, >= 16 x under mmengine",
    "step": ">= 8 x under mmengine",
    "full step": ">= 3 x under mmengine",
    "schedule": "<= 5 us",
    "zero_grad": "<= 1.2 x bare",
}
SMALL, FULL = {8: 52}, {64: 3, 128: 4, 320: 6, 512: 3}
"""Width of the blocks -> how many."""


class Block(nn.Module):
    """The tensors of one MiT block."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, wider), nn.Linear(wider, width)
        self.dwconv = nn.Conv2d(wider, wider, 1, groups=wider)
        self.sr = nn.Conv2d(width, width, 1)


def net(blocks: dict[int, int] | None = None) -> nn.Module:
    """A SegFormer in its tensors: by default as many as B5 has, in as many modules, each small."""
    wider = 1 if blocks is None else 4
    stages = [
        nn.ModuleList([nn.Conv2d(8, width, 1), nn.ModuleList(Block(width, wider * width) for _ in range(depth))])
        for width, depth in (blocks or SMALL).items()
    ]
    return nn.ModuleDict(
        {"backbone": nn.ModuleList(stages), "decode_head": nn.ModuleList(nn.Linear(8, 8) for _ in range(8))}
    )


def bare_build(model: nn.Module) -> torch.optim.Optimizer:
    """The shortest code that makes the same groups."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        settings = (LR, 0.0) if "norm" in name else (LR * 10, DECAY) if "head" in name else (LR, DECAY)
        groups.setdefault(settings, []).append(parameter)
    listed = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    return torch.optim.AdamW(listed, lr=LR, weight_decay=DECAY, fused=True)


def mmengine_parts() -> tuple[Callable[..., Any], type] | None:
    """MMEngine's builder and scheduler, quiet."""
    if importlib.util.find_spec("mmengine") is None:
        print("mmengine is not installed: its column is left out")
        return None
    from mmengine.optim import PolyLR as TheirPoly
    from mmengine.optim import build_optim_wrapper as their_build

    return their_build, TheirPoly


def with_gradients(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


def repeated(times: int, function: Callable[[], Any]) -> Callable[[], None]:
    def many() -> None:
        for _ in range(times):
            function()

    return many


def prepared(model: nn.Module, function: Callable[[], Any]) -> Callable[[], float]:
    """Time of a function alone, its gradients laid ready before."""

    def once() -> float:
        with_gradients(model)
        start = time.process_time()
        function()
        return time.process_time() - start

    return once


def dropping(model: nn.Module) -> Callable[[], None]:
    """`p.grad = None` for each of a list of parameters."""
    parameters = list(model.parameters())

    def drop() -> None:
        for parameter in parameters:
            parameter.grad = None

    return drop


def clipping(model: nn.Module) -> Callable[[], Any]:
    parameters = list(model.parameters())
    return lambda: nn.utils.clip_grad_norm_(parameters, 1e9)


def bare_poly(groups: list[dict[str, Any]]) -> Callable[[], None]:
    """Closed form over the merged groups."""
    bases, step = [group["lr"] for group in groups], [0]

    def advance() -> None:
        step[0] += 1
        factor = 1 - step[0] / POLY["end"]
        for group, base in zip(groups, bases, strict=True):
            group["lr"] = base * factor

    return advance


def contestants() -> dict[str, dict[str, tuple[Callable[[], Any], int]]]:
    """Task -> who -> what to time and how many units of work it holds."""
    models = {who: net() for who in ("bare", "ours", "mmengine")}
    peer = mmengine_parts()
    wrappers: dict[str, Any] = {"ours": build_optim_wrapper(with_gradients(models["ours"]), CFG)}
    optimizer = bare_build(with_gradients(models["bare"]))
    schedules: dict[str, Any] = {"ours": PolyLR(wrappers["ours"], **POLY)}
    builds: dict[str, Callable[[], Any]] = {"ours": lambda: build_optim_wrapper(models["ours"], CFG)}
    if peer:
        wrappers["mmengine"] = peer[0](with_gradients(models["mmengine"]), dict(CFG))
        schedules["mmengine"] = peer[1](wrappers["mmengine"], **POLY)
        builds["mmengine"] = lambda: peer[0](models["mmengine"], dict(CFG))
    tasks: dict[str, dict[str, tuple[Callable[[], Any], int]]] = {
        "build": {"bare": (block(lambda: bare_build(models["bare"])), 1)},
        "step": {"bare": (repeated(5, optimizer.step), 5)},
        "schedule": {"bare": (repeated(200, bare_poly(optimizer.param_groups)), 200)},
        "zero_grad": {"bare": (prepared(models["bare"], dropping(models["bare"])), 1)},
        "clip": {"bare": (prepared(models["bare"], clipping(models["bare"])), 1)},
    }
    tasks["full step"] = full_steps(peer)
    for who, wrapper in wrappers.items():
        tasks["build"][who] = (block(builds[who]), 1)
        tasks["step"][who] = (repeated(5, wrapper.optimizer.step), 5)
        tasks["schedule"][who] = (repeated(200, schedules[who].step), 200)
        tasks["zero_grad"][who] = (prepared(models[who], wrapper.zero_grad), 1)
        tasks["clip"][who] = (prepared(models[who], wrapper._clip_grad), 1)
    return tasks


def full_steps(peer: tuple[Callable[..., Any], type] | None) -> dict[str, tuple[Callable[[], Any], int]]:
    """One optimizer step of a net in its real size."""
    builds: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
        "bare": bare_build,
        "ours": lambda model: build_optim_wrapper(model, CFG).optimizer,
    }
    if peer:
        builds["mmengine"] = lambda model: peer[0](model, dict(CFG)).optimizer
    return {who: (build(with_gradients(net(FULL))).step, 1) for who, build in builds.items()}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    rows = []
    for task, sides in contestants().items():
        found = paired({who: function for who, (function, _) in sides.items()}, rounds=15)
        micros = {who: statistics.median(found[who]) / units * 1e6 for who, (_, units) in sides.items()}
        ratio = {who: statistics.median(a / b for a, b in zip(found["ours"], found[who], strict=True)) for who in sides}
        peer = f"{1 / ratio['mmengine']:.1f}" if "mmengine" in ratio else "-"
        theirs = f"{micros['mmengine']:.1f}" if "mmengine" in micros else "-"
        row = [f"{micros['bare']:.1f}", f"{micros['ours']:.1f}", theirs, f"{ratio['bare']:.2f}", peer]
        rows.append([task, *row, GOALS.get(task, "")])
    header = ["task", "bare us", "ours us", "mmengine us", "ours / bare", "mmengine / ours", "goal"]
    tensors = sum(1 for _ in net().parameters())
    millions = sum(parameter.numel() for parameter in net(FULL).parameters()) / 1e6
    title = f"Optimizer work, {tensors} tensors of at most 64 elements (full step: {millions:.0f} M weights)"
    print_table(title, header, rows)


if __name__ == "__main__":
    main()
