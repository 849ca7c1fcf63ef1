"""The parts of a run: those that are objects already, and the model and the visualizer, which are made at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from seg_runner.assembly.arguments import Arguments, place_of
from seg_runner.assembly.assembler import Assembler
from seg_runner.assembly.fallback import FallbackOptimWrapper
from seg_runner.distributed.norms import AllProcesses
from seg_runner.distributed.world import World
from seg_runner.errors import origin_of
from seg_runner.log.fallback_visualizer import FallbackVisualizer
from seg_runner.model.batch_norm import revert_sync_batch_norms, synced_batch_norms
from seg_runner.model.compilation import check_compile
from seg_runner.model.logits_model import LogitsModel
from seg_runner.model.prepare import use_channels_last
from seg_runner.model.wrapping import unwrap
from seg_runner.process.device import has_sync_batch_norm

__all__ = ["make_model", "make_visualizer", "ready_loaders", "ready_schedulers", "ready_wrapper"]


def ready_loaders(arguments: Arguments) -> dict[str, Any]:
    """Return the loaders that are objects already; those given as dicts are built when they are needed."""
    given = {mode: arguments[f"{mode}_dataloader"] for mode in ("train", "val", "test")}  # type: ignore[literal-required]
    return {mode: None if isinstance(loader, Mapping) else loader for mode, loader in given.items()}


def ready_wrapper(optimizer: object) -> Any:
    """Return the optimizer wrapper, if it is an object already: a plain torch optimizer gets the shape of one."""
    if isinstance(optimizer, Mapping):
        return None
    if isinstance(optimizer, torch.optim.Optimizer):
        return FallbackOptimWrapper(optimizer)
    if optimizer is not None and not hasattr(optimizer, "update_params"):
        raise TypeError(
            f"optim_wrapper must be a torch optimizer, an optimizer wrapper, or a dict, not {type(optimizer).__name__}"
        )
    return optimizer


def ready_schedulers(schedulers: object) -> Any:
    """Return the schedulers, if all of them are objects already; else None, until they are built."""
    if schedulers is None:
        return []
    if isinstance(schedulers, Mapping):
        return None
    listed = list(schedulers) if isinstance(schedulers, (list, tuple)) else [schedulers]
    return None if any(isinstance(one, Mapping) for one in listed) else listed


def make_visualizer(visualizer: object, assembler: Assembler, name: str, log_dir: Path, rank: int = 0) -> Any:
    """Return the visualizer, or one that keeps scalars in a file (of rank 0) and draws nothing."""
    if visualizer is None:
        return FallbackVisualizer(log_dir, writes=rank == 0)
    return assembler.visualizer(visualizer, name, log_dir)


class TrainsModel(Protocol):
    """What a model is trained by, and where."""

    @property
    def device(self) -> torch.device:
        """Where the model goes."""

    @property
    def world(self) -> World:
        """The processes."""

    @property
    def strategy(self) -> object:
        """How the model is trained; it may have a `meeting` of its own for synced norms."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


class HoldsModel(TrainsModel, Protocol):
    """A runner that is about to get its model."""

    @property
    def arguments(self) -> Arguments:
        """The arguments."""

    @property
    def assembler(self) -> Assembler:
        """Makes parts of their configs."""


def make_model(runner: HoldsModel, model: object) -> torch.nn.Module:
    """Return the model: built, with steps if it has none, its batch norms fit for one process, on its device."""
    arguments = runner.arguments
    check_compile(arguments["compile"], origin_of(arguments["cfg"], "compile"), arguments["cfg"] is not None)
    made = runner.assembler.model(model, arguments["data_preprocessor"])
    if not isinstance(made, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or a dict, not {type(made).__name__}")
    if not any(hasattr(unwrap(made), f"{mode}_step") for mode in ("train", "val", "test")):
        made = _with_steps(runner.assembler, arguments, made)
    elif arguments["loss"] is not None and not _is_top_level(arguments["cfg"], "loss"):
        raise ValueError(
            f"loss is given, but {type(made).__name__} has a train_step, which has its own loss: leave loss out"
        )
    made = _fit_norms(runner, made.to(runner.device))
    return use_channels_last(made) if arguments["channels_last"] else made


def _fit_norms(runner: HoldsModel, model: torch.nn.Module) -> torch.nn.Module:
    """Let synced batch norms be what they can be here: plain with one rank, and ours where torch's own would raise."""
    wanted, meeting = runner.arguments["sync_bn"], getattr(runner.strategy, "meeting", None)
    if (runner.world.size == 1 and meeting is None) or wanted is False:
        model, count = revert_sync_batch_norms(model)
        why = "as sync_bn=False says" if wanted is False else "since there is one process"
        if count:
            runner.logger.info("SyncBatchNorm: %d became plain batch norm, %s", count, why)
        return model
    if meeting is None and not has_sync_batch_norm(runner.device):
        meeting = AllProcesses()
    model, count = synced_batch_norms(model, meeting, plain=bool(wanted))
    if count:
        what = "torch's SyncBatchNorm" if meeting is None else "synced batch norm for any device"
        back = ", as sync_bn says" if wanted else " (sync_bn=False makes them plain)"
        runner.logger.info("%d batch norms became %s%s", count, what, back)
    return model


def _is_top_level(cfg: object, key: str) -> bool:
    """Tell whether an argument stands at the top of a config, where its name may be the config's own."""
    return cfg is not None and place_of(cfg, key) == key


def _with_steps(assembler: Assembler, arguments: Arguments, model: torch.nn.Module) -> torch.nn.Module:
    if arguments["train_cfg"] is not None and arguments["loss"] is None:
        raise ValueError(
            f"{type(model).__name__} has no train_step, so training needs a loss: give loss=..., for example "
            "loss=torch.nn.CrossEntropyLoss(ignore_index=255)"
        )
    loss = assembler.loss(arguments["loss"])
    return LogitsModel(model, loss=loss, data_preprocessor=arguments["data_preprocessor"])
