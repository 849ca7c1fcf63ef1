"""Before a loop: what a model and a run must have, and what is changed in the model and told first."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from seg_runner.assembly.arguments import Arguments, use_argument
from seg_runner.distributed.world import World
from seg_runner.model.batch_norm import join_frozen_norms
from seg_runner.model.compilation import compile_model
from seg_runner.model.graph.options import check_capture, graph_options
from seg_runner.model.graph.step import capture_steps
from seg_runner.model.prepare import checkpoint_activations
from seg_runner.model.wrapping import unwrap
from seg_runner.process.randomness import Randomness

__all__ = ["change_modules", "check_steps", "compile_steps", "need", "tell_where_it_begins"]


def need(arguments: Arguments, mode: str) -> None:
    """Refuse to run a part that the runner was made without.

    Raises:
        RuntimeError: its arguments were not given.
    """
    if arguments[f"{mode}_cfg"] is None and arguments[f"{mode}_dataloader"] is None:  # type: ignore[literal-required]  # a mode
        keys = [f"{mode}_dataloader", f"{mode}_cfg", "optim_wrapper" if mode == "train" else f"{mode}_evaluator"]
        raise RuntimeError(f"{mode}() needs {', '.join(keys)}, and the runner was made without them")


class ChangesModel(Protocol):
    """A runner that may change its model before it trains."""

    @property
    def arguments(self) -> Arguments:
        """The arguments."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


def change_modules(runner: ChangesModel) -> None:
    """Apply activation checkpointing, and join convolutions with frozen norms, in the modules that the config names."""
    arguments = runner.arguments
    use_argument(lambda names: checkpoint_activations(runner.model, names or ()), arguments, "activation_checkpointing")
    if arguments["efficient_conv_bn_eval"]:
        net = unwrap(runner.model)
        joined = use_argument(lambda names: join_frozen_norms(net, names), arguments, "efficient_conv_bn_eval")
        runner.logger.info("efficient_conv_bn_eval: %d convolutions are joined with frozen norms", len(joined))


class Compiles(ChangesModel, Protocol):
    """A runner whose steps may be compiled or captured."""

    @property
    def optim_wrapper(self) -> Any:
        """The optimizer wrapper."""

    @property
    def device(self) -> torch.device:
        """Where is trained."""

    @property
    def world(self) -> World:
        """The processes."""

    @property
    def randomness(self) -> Randomness:
        """The seed, and the ranks that are played."""


def compile_steps(runner: Compiles) -> None:
    """Compile the model, or have its training steps captured, as `compile` says.

    Raises:
        ValueError: a step of this run cannot be captured.
        RuntimeError: compiling needs a program that is not here.
    """
    use_argument(lambda options: _compile_steps(runner, options), runner.arguments, "compile")


def _compile_steps(runner: Compiles, options: object) -> None:
    compile_model(runner.model, options)
    if (graph := graph_options(options)) is not None:
        check_capture(graph, runner.optim_wrapper, runner.device, max(runner.world.size, runner.randomness.ranks or 1))
        capture_steps(runner.model, runner.optim_wrapper, graph, runner.device, runner.logger)


def check_steps(model: object, *modes: str) -> None:
    """Refuse a model without the steps that will be called.

    Raises:
        TypeError: a step is missing.
    """
    for mode in modes:
        if not callable(getattr(model, f"{mode}_step", None)):
            raise TypeError(
                f"{type(model).__name__} has no {mode}_step. Give a model with train_step, val_step, test_step, or a "
                "torch.nn.Module without any of them that gives logits, with loss=..."
            )


class Begins(Protocol):
    """A training about to begin."""

    @property
    def finished_iters(self) -> int:
        """Where it stands."""

    @property
    def resumed(self) -> bool:
        """Whether it goes on from a checkpoint."""

    @property
    def train_loop(self) -> Any:
        """The training loop."""

    @property
    def work_dir(self) -> Path:
        """Folder of the run."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


def tell_where_it_begins(runner: Begins) -> None:
    """Log one line where training does not begin at the first step: a resume, or a second `train()`."""
    loop, done = runner.train_loop, runner.finished_iters
    end, again = getattr(loop, "max_iters", 0), done > 0 and not runner.resumed
    if 0 < end <= done:
        more = "make a new Runner with a larger" if again else "raise"
        text = "the run in %s is finished: %d of %d iterations; for more, %s max_iters or max_epochs in train_cfg"
        runner.logger.warning(text, runner.work_dir, done, end, more)
    elif again:
        stopped = getattr(loop, "stop_training", False)
        does = "stays stopped (train_loop.stop_training is set)" if stopped else "goes on; a new Runner starts again"
        runner.logger.warning("after iteration %d of %d training %s", done, end, does)
