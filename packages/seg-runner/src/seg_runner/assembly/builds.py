"""The methods that make the parts of a runner; a subclass may override each, and they are called as MMEngine's are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seg_runner.assembly.arguments import Arguments, expects_epochs, use_argument
from seg_runner.assembly.assembler import Assembler
from seg_runner.assembly.auto_scale_lr import batch_size_of, scale_lr
from seg_runner.assembly.loops import eval_loop, loop_class, train_loop
from seg_runner.assembly.parts import make_model, make_visualizer
from seg_runner.distributed.strategy import OwnWrapper, Strategy
from seg_runner.distributed.world import World
from seg_runner.errors import written_at
from seg_runner.log.message_hub import MessageHub
from seg_runner.mmengine.attributes import INSTEAD, RUNNER, serves
from seg_runner.mmengine.bases import with_base
from seg_runner.model.wrapping import unwrap
from seg_runner.process.randomness import Randomness

__all__ = ["Builds"]


@serves(RUNNER, INSTEAD)
class Builds:
    """A runner as far as it makes its parts; each method takes the part's config, or the ready part.

    Overriding one changes what every run of the subclass gets: `super().build_optim_wrapper(cfg)`, then something more.
    """

    arguments: Arguments
    assembler: Assembler
    cfg: Any
    device: torch.device
    experiment_name: str
    log_dir: Path
    loaders: dict[str, Any]
    logger: logging.Logger
    model: Any
    optim_wrapper: Any
    param_schedulers: Any
    randomness: Randomness
    strategy: Strategy
    train_loop: Any
    world: World

    @property
    def rank(self) -> int:
        """Return the number of this process, from 0."""
        return self.world.rank

    @property
    def world_size(self) -> int:
        """Return how many processes train together."""
        return self.world.size

    @property
    def data_ranks(self) -> int:
        """Return how many ranks the data are dealt to: virtual ones, else the processes."""
        return self.randomness.ranks or self.world.size

    def build_message_hub(self, message_hub: object = None) -> MessageHub:
        """Return the hub that holds the run's values."""
        return MessageHub(name=self.experiment_name)

    def build_log_processor(self, log_processor: object) -> Any:
        """Return what makes records and lines of the log."""
        return self.assembler.log_processor(log_processor, by_epoch=expects_epochs(self.arguments))

    def build_visualizer(self, visualizer: object = None) -> Any:
        """Return where pictures and scalars go."""
        return make_visualizer(visualizer, self.assembler, self.experiment_name, self.log_dir, self.rank)

    def build_model(self, model: object) -> Any:
        """Return the model, on its device."""
        return make_model(self, model)

    def wrap_model(self, model_wrapper_cfg: object, model: Any) -> Any:
        """Return the model as the strategy of the run trains it on all ranks; as it is with one process."""
        if isinstance(self.strategy, OwnWrapper):
            with written_at(self.cfg, "model_wrapper_cfg"):
                return self.assembler.part("model_wrapper", model_wrapper_cfg, "model_wrapper_cfg", module=model)
        return self.strategy.wrap(model, self.world, self.device)

    def build_dataloader(self, dataloader: object, seed: int | None = None, diff_rank_seed: bool = False) -> Any:
        """Return the loader of a config; a ready one passes through."""
        arguments: Mapping[str, Any] = self.arguments
        keys = [f"{mode}_dataloader" for mode in ("train", "val", "test")]
        key = next((name for name in keys if arguments[name] is dataloader), "dataloader")
        randomness = self.randomness if seed is None else replace(self.randomness, seed=seed)
        return self.assembler.dataloader(dataloader, key, randomness)

    def build_evaluator(self, evaluator: object) -> Any:
        """Return what measures: an evaluator of metrics or of their configs."""
        arguments: Mapping[str, Any] = self.arguments
        key = next((name for name in ("val_evaluator", "test_evaluator") if arguments[name] is evaluator), "evaluator")
        made = self.assembler.evaluator(evaluator, key)
        return with_base(made, "evaluator", "Evaluator") if hasattr(made, "process") else made

    def build_train_loop(self, loop: object) -> Any:
        """Return the training loop, with its loader."""
        loader = self.loaders["train"] = self.build_dataloader(self.arguments["train_dataloader"])
        return train_loop(loop, self, loader, loop_class(self.assembler, "train_cfg"))

    def build_val_loop(self, loop: object) -> Any:
        """Return the validation loop, with its loader and evaluator."""
        return self._build_eval_loop("val", loop)

    def build_test_loop(self, loop: object) -> Any:
        """Return the test loop, with its loader and evaluator."""
        return self._build_eval_loop("test", loop)

    def _build_eval_loop(self, mode: str, loop: object) -> Any:
        arguments: Mapping[str, Any] = self.arguments
        loader = self.loaders[mode] = self.build_dataloader(arguments[f"{mode}_dataloader"])
        made = {"dataloader": loader, "evaluator": arguments[f"{mode}_evaluator"]}
        return eval_loop(mode, loop, self, made, loop_class(self.assembler, f"{mode}_cfg"))

    def build_optim_wrapper(self, optim_wrapper: object) -> Any:
        """Return the optimizer wrapper of the model."""
        return self.assembler.optim_wrapper(optim_wrapper, unwrap(self.model))

    def scale_lr(self, optim_wrapper: object, auto_scale_lr: Mapping[str, Any] | None = None) -> None:
        """Multiply learning rates as `auto_scale_lr` says."""
        size = batch_size_of(self.arguments, self.loaders["train"])
        scale_lr(optim_wrapper, auto_scale_lr, size, self)

    def _scale_lr(self) -> None:
        use_argument(lambda scaling: self.scale_lr(self.optim_wrapper, scaling), self.arguments, "auto_scale_lr")

    def build_param_scheduler(self, scheduler: object) -> Any:
        """Return the schedulers: a list, or for several optimizers a dict of lists."""
        loop, loader = self.train_loop, self.loaders["train"]
        ends = {True: getattr(loop, "max_epochs", 0), False: getattr(loop, "max_iters", 0)}
        length = len(loader) if hasattr(loader, "__len__") else None
        if self.data_ranks > 1:
            length = getattr(getattr(loop, "batches", None), "batches_per_pass", length)
        return self.assembler.param_schedulers(scheduler, self.optim_wrapper, ends, length)
