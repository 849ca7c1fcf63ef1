"""Checkpoint keys of a package: a short run is made, and its checkpoint is read.

Names that belong to a model, an optimizer or a curve are not listed: a dict of tensors, and one whose keys are no
words, is one line. What hooks, schedulers and wrappers keep is listed in the package that they come from.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from interface_names import Lines
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

OTHERS = ("optimizer", "param_schedulers", "hooks", "visualizer")
"""Keys of a Runner's checkpoint under which the states of parts lie that come from other packages, or from users."""
SAMPLES = {"int": 2, "float": 0.5, "str": "loss", "Sequence[int]": [1], "Sequence[float]": [1.0]}
"""What is given for an argument that has no default, by its annotation."""

Points = Mapping[str, Mapping[str, str]]


def checkpoint_keys(package: str, points: Points) -> Lines:
    """Return a line for each key that a package writes into checkpoints."""
    logging.disable()
    before = torch.get_rng_state()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return WRITERS[package](Path(folder), points) if package in WRITERS else {}
    finally:
        logging.disable(logging.NOTSET)
        torch.set_rng_state(before)


def flat(value: object, path: str = "", whole: Collection[str] = ()) -> Lines:
    """Return a line for each value of a tree: its dotted path, and its type; paths in `whole` are not opened.

    >>> flat({"meta": {"iter": 3}, "state_dict": {"0.weight": 1.0}})
    {'meta.iter': 'int', 'state_dict': 'dict'}
    """
    inside: list[tuple[str, object]] = []
    if isinstance(value, Mapping) and path not in whole and _has_fixed_keys(value):
        inside = [(f"{path}.{name}".strip("."), each) for name, each in value.items()]
    elif isinstance(value, list | tuple) and path not in whole and all(isinstance(each, Mapping) for each in value):
        inside = [(f"{path}[]", each) for each in value]
    lines = {key: kind for name, each in inside for key, kind in flat(each, name, whole).items()}
    return lines or {path: type(value).__name__}


def _has_fixed_keys(value: Mapping[Any, object]) -> bool:
    words = all(isinstance(key, str) and key.isidentifier() for key in value)
    return words and not any(isinstance(each, torch.Tensor) and each.dim() for each in value.values())


def net() -> nn.Module:
    """Return a model whose parameters have names that are no words, so that they are not listed."""
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))


def loader() -> DataLoader[Any]:
    """Return four images and their labels, one at a time."""
    labels = torch.zeros(4, 4, 4, dtype=torch.long)
    return DataLoader(TensorDataset(torch.zeros(4, 3, 4, 4), labels), batch_size=1)


class Keeps:
    """A hook, and a visualizer, that has a state, and saves the run in the middle of a window of accumulation."""

    dataset_meta: object = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def state_dict(self) -> dict[str, Any]:
        """Return something."""
        return {"kept": 1}

    def load_state_dict(self, state_dict: object) -> None:
        """Take nothing back."""

    def add_config(self, config: object) -> None:
        """Draw nothing."""

    def add_scalars(self, scalar_dict: object, step: int = 0, file_path: str | None = None) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """Close nothing."""

    def after_train_iter(self, runner: Any) -> None:
        """Save at the first step, whose gradients are kept for the second."""
        if runner.iter == 0:
            runner.save_checkpoint(self.path)


def of_runner(folder: Path, points: Points) -> Lines:
    """Train for two steps that make one update, and read what was saved between them."""
    from seg_optim import OptimWrapper
    from seg_runner import Runner
    from seg_runner.checkpoint.read import read_checkpoint

    network, keeps = net(), Keeps(folder / "kept.pth")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    runner = Runner(
        network,
        folder / "run",
        loss=nn.CrossEntropyLoss(),
        train_dataloader=loader(),
        train_cfg={"max_iters": 2},
        optim_wrapper=OptimWrapper(optimizer, accumulative_counts=2),
        param_scheduler=made(importlib.import_module("seg_optim").ConstantLR, optimizer=optimizer, by_epoch=False),
        hooks=[keeps],
        visualizer=keeps,
    )
    runner.train()
    found = dict(read_checkpoint(keeps.path))
    missing = {part.key for part in runner.state_parts()} - set(found) - {part.key for part in _silent(runner)}
    if missing:
        raise RuntimeError(f"this run writes no {', '.join(sorted(missing))}: of_runner must make a run that does")
    return flat(found, whole=OTHERS)


def _silent(runner: Any) -> list[Any]:
    """Return the parts that write nothing themselves: hooks write for them, or they only compare."""
    return [part for part in runner.state_parts() if inspect.signature(part.save).return_annotation == "None"]


def of_train_state(folder: Path, points: Points) -> Lines:
    """Train for two steps in a loop of one's own with every hook that has a state, and read what was saved."""
    from seg_hooks import Hook, TrainState

    network = net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    options = {"interval": 1, "by_epoch": False, "save_best": "loss", "monitor": "loss"}
    idle = Hook.before_save_checkpoint
    hooks = [
        made(kind, **options)
        for kind in _classes(points, "hooks")
        if hasattr(kind, "state_dict") or getattr(kind, "before_save_checkpoint", idle) is not idle
    ]
    schedulers = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with TrainState(
        network, optimizer, folder, 2, hooks=hooks, schedulers=schedulers, extra={"more": Keeps(folder)}
    ) as state:
        for images, labels in state.batches(loader()):
            loss = nn.functional.cross_entropy(network(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            state.after_step(loss)
    found = torch.load(folder / "iter_2.pth", weights_only=True)
    return flat(found, whole=OTHERS[:2])


def of_optimizers(folder: Path, points: Points) -> Lines:
    """Ask each wrapper and each schedule for its state."""
    from seg_optim import OptimWrapper

    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD(net().parameters(), lr=0.1, momentum=0.9)

    lines: Lines = {}
    for kind in _with_state(points, "optim_wrappers"):
        path, several = f"optimizer.{kind.__name__}", list(inspect.signature(kind).parameters) == ["optim_wrappers"]
        part = kind(one=OptimWrapper(optimizer())) if several else kind(optimizer=optimizer())
        lines |= flat(part.state_dict(), path, [f"{path}.param_groups", f"{path}.one.param_groups"])
    for kind in _with_state(points, "param_schedulers"):
        try:
            part = made(kind, optimizer=optimizer(), param_name="lr")
        except ValueError:  # those that end at a value have to be given it
            part = made(kind, optimizer=optimizer(), param_name="lr", eta_min=0.0)
        lines |= flat(part.state_dict(), f"param_schedulers.{kind.__name__}")
    return lines


def of_backends(folder: Path, points: Points) -> Lines:
    """Ask each backend for the state that it takes back; nothing is sent anywhere."""

    class Whatever(dict[str, str]):
        """Has every key."""

        def __missing__(self, key: str) -> str:
            return "here"

        def get(self, key: str, default: object = None) -> Any:
            return self[key]

    lines: Lines = {}
    for kind in _with_state(points, "vis_backends"):
        backend = made(kind, save_dir=str(folder))
        backend.load_state_dict(Whatever())
        lines |= flat(backend.state_dict(), f"visualizer.{kind.__name__}")
    return lines


WRITERS = {"seg_runner": of_runner, "seg_hooks": of_train_state, "seg_optim": of_optimizers, "seg_vis": of_backends}


def made(kind: Any, **given: object) -> Any:
    """Return an object with these arguments where it takes them, and with samples for others that have no default."""
    taken = {}
    for name, each in inspect.signature(kind).parameters.items():
        if name in given:
            taken[name] = given[name]
        elif each.default is each.empty and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
            taken[name] = SAMPLES[str(each.annotation)]
    return kind(**taken)


def _classes(points: Points, group: str) -> Iterator[Any]:
    """Yield what the entry points of a group lead to."""
    for target in points.get(f"seg_engine.{group}", {}).values():
        module, _, name = target.partition(":")
        yield getattr(importlib.import_module(module), name)


def _with_state(points: Points, group: str) -> Iterator[Any]:
    return (kind for kind in _classes(points, group) if hasattr(kind, "load_state_dict"))
