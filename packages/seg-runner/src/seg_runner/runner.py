"""The Runner: holds the parts of a run, owns its progress and its hook table, and starts the loops."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from seg_runner.assembly.arguments import (
    Parts,
    arguments_of,
    check_launcher,
    expects_epochs,
    experiment_name,
    fill_parts,
    folder_of,
    runner_class,
)
from seg_runner.assembly.assembler import Assembler
from seg_runner.assembly.hooks import fill_stand_ins, register_default_hook, register_hooks
from seg_runner.assembly.loops import build_training
from seg_runner.assembly.parts import make_model, make_visualizer, ready_loaders, ready_schedulers, ready_wrapper
from seg_runner.checkpoint import parts as saved
from seg_runner.checkpoint.checkpoints import Checkpoints, mmengine_options
from seg_runner.checkpoint.finite import LossWatch
from seg_runner.checkpoint.meta import Changes, Place
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checkpoint.schedulers import Schedulers
from seg_runner.checkpoint.state import Part, State
from seg_runner.errors import check_options, origin_of, written_at
from seg_runner.evaluation.ranks import refuse_several
from seg_runner.facade import Facade
from seg_runner.hooks.defaults import merge_default_hooks
from seg_runner.hooks.table import HookTable
from seg_runner.log.message_hub import MessageHub
from seg_runner.log.setup import REFERENCE_NAME, make_log_dir, make_logger, missing_folders, remove_start
from seg_runner.model import changes as wrap
from seg_runner.process.device import pick_device
from seg_runner.process.environment import set_up_process
from seg_runner.process.randomness import resolve_randomness, seed_everything
from seg_runner.run import start as lifecycle
from seg_runner.run import stopping
from seg_runner.run.record import announce, places_outside
from seg_runner.run.session import session

__all__ = ["Runner"]


class Runner(Facade):
    """Trains, validates and tests a model; every part is an object, or a dict where a builder is installed.

    Args:
        model: A `torch.nn.Module` that gives logits (then `loss` says how to train it), or one with `train_step`,
            `val_step`, `test_step` (every MMSegmentation model has them).
        work_dir: Folder of the run: checkpoints, and one folder of logs per start.
        **parts: Everything else, by the names of a config; see `seg_runner.assembly.arguments.Parts`.

    Raises:
        TypeError: An argument that there is none of, or a part that is not of the right kind.
        ValueError: Arguments that do not go together; the message says what is missing.

    Example:
        >>> runner = Runner(                                                    # doctest: +SKIP
        ...     model=net, loss=torch.nn.CrossEntropyLoss(), train_dataloader=loader,
        ...     optim_wrapper=torch.optim.AdamW(net.parameters()), train_cfg=dict(max_iters=100), work_dir="out")
        >>> runner.train()                                                      # doctest: +SKIP
    """

    def __init__(self, model: nn.Module | Mapping[str, Any], work_dir: str | Path, **parts: Unpack[Parts]) -> None:
        refuse_several("Runner")
        self.parts = fill_parts(parts)
        self.cfg = copy.deepcopy(self.parts["cfg"])
        with written_at(self.cfg, "launcher"):
            check_launcher(self.parts["launcher"])
        with written_at(self.cfg, "env_cfg"):
            set_up_process(self.parts["env_cfg"])
        with written_at(self.cfg, "randomness"):
            self.randomness = resolve_randomness(self.parts["randomness"])
        with written_at(self.cfg, "device"):
            self.device = pick_device(self.parts["device"])
        self.work_dir = folder_of(work_dir)
        self.outside = places_outside(self)
        self.started = self.underway = False
        self.began_at: int | None = None
        self.lost = ""  # what the end of a training could not save
        self.signals: Any = None
        self.made_folders = missing_folders(self.work_dir)
        self.log_dir, self.timestamp = make_log_dir(self.work_dir)
        try:
            self._set_up(model)
        except BaseException:
            remove_start(self.log_dir, self.made_folders)
            raise

    def _set_up(self, model: nn.Module | Mapping[str, Any]) -> None:
        """Everything of the constructor that comes after the log folder."""
        self.experiment_name = experiment_name(self.parts["experiment_name"], self.cfg, self.timestamp)
        name = "seg_runner" if self.cfg is None else REFERENCE_NAME
        log_file = self.log_dir / f"{self.timestamp}.log"
        with written_at(self.cfg, "log_level"):
            self.logger = make_logger(log_file, self.parts["log_level"], name=name, rank=self.rank)
        seed_everything(self.randomness, self.rank)
        self.assembler = Assembler(self.parts["build"], self.cfg, self.parts["default_scope"])
        self.assembler.exact = not self.randomness.by_sample
        self.loaders: dict[str, Any] = ready_loaders(self.parts)
        self.loops: dict[str, Any] = {"train": None, "val": None, "test": None}
        self.log_processor = self.assembler.log_processor(
            self.parts["log_processor"], by_epoch=expects_epochs(self.parts)
        )
        self.message_hub = MessageHub()
        self._losses = LossWatch()
        self.visualizer = make_visualizer(self, self.parts["visualizer"])
        self.model: Any = make_model(self, model)
        self.optim_wrapper: Any = ready_wrapper(self.parts["optim_wrapper"])
        self.param_schedulers: Any = ready_schedulers(self.parts["param_scheduler"])
        options = self.parts["checkpoint"] or {}
        check_options(CheckpointSaver, options, f"checkpoint{origin_of(self.cfg, 'checkpoint')}")
        self.saver: Any = CheckpointSaver(**options)
        self.checkpoints = Checkpoints(
            run=self,
            training=self,
            arguments=self.parts,
            parts=self.state_parts,
            saver=self.saver,
            message_hub=self.message_hub,
            visualizer=self.visualizer,
        )
        self.table = HookTable(self)
        register_hooks(self)
        fill_stand_ins(self)
        announce(self)

    @classmethod
    def from_cfg(cls, cfg: Any, build: Any = None, *, overwrite: bool = False) -> Runner:
        """A runner from a whole config, with the six default hooks.

        Args:
            cfg: A config or dict with the names of the arguments as keys; other keys are left alone.
            build: What turns dicts into objects; None takes the one that an installed package offers (seg-registry).
            overwrite: Delete the checkpoints that an earlier run has left in the work directory, before the first step.

        Raises:
            KeyError: `model` or `work_dir` is missing.
            TypeError: it is neither a config nor a dict.
        """
        if not callable(getattr(cfg, "get", None)):
            raise TypeError(f"Runner.from_cfg takes a dict or a Config, not {cfg!r}; a file is read by Config.fromfile")
        own = copy.deepcopy(cfg)
        kind = runner_class(cls, own, build)
        more = {"overwrite": True} if overwrite else {}
        runner: Runner = kind(**arguments_of(own), **more, cfg=own, build=build)
        return runner

    def __repr__(self) -> str:
        kind, done = type(wrap.unwrap(self.model)).__name__, f"iteration {self.finished_iters} of {self.max_iters}"
        return f"{type(self).__name__}({kind}, {done}, work_dir={str(self.work_dir)!r})"

    # -- running ----------------------------------------------------------------------------------------------------

    def train(self) -> Any:
        """Train (or go on training) to the end; returns the model.

        Raises:
            RuntimeError: the runner was made without a training part.
        """
        lifecycle.need(self, "train")
        with session(self, "train"):
            build_training(self)
            lifecycle.start_training(self)
            model = self.train_loop.run()
            self.call_hook("after_run")
        return model

    def val(self) -> dict[str, Any]:
        """Validate the model as it is now (loading `load_from` or `resume` if nothing ran yet); returns the metrics."""
        return lifecycle.evaluate(self, "val")

    def test(self) -> dict[str, Any]:
        """Test the model as it is now (loading `load_from` or `resume` if nothing ran yet); returns the metrics."""
        return lifecycle.evaluate(self, "test")

    # -- hooks ------------------------------------------------------------------------------------------------------

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """Add a hook, or the dict of one.

        Args:
            hook: Any object with a method named after a point.
            priority: Name, or number from 0 (first) to 100; None: the dict's, else the hook's own, else NORMAL.

        Raises:
            RuntimeError: a run is under way.
        """
        made, from_cfg = self.assembler.hook(hook, "hook")
        self.table.add(made, from_cfg if priority is None else priority)

    def register_default_hooks(self, hooks: Mapping[str, Any] | None = None) -> None:
        """Add the six default hooks, with the given slots replaced, added, or (None) left out."""
        if not isinstance(hooks, Mapping | None):
            raise TypeError(f"default hooks must be a dict from a slot to its config, or None, not {hooks!r}")
        for slot, (cfg, named) in merge_default_hooks(hooks).items():
            register_default_hook(self, slot, cfg, named)

    def register_custom_hooks(self, hooks: Iterable[Any], key: str = "custom_hooks") -> None:
        """Add hooks or their dicts, in order; `key` is where the config lists them."""
        if not isinstance(hooks, Iterable) or isinstance(hooks, str):
            raise TypeError(f"{key} must be a list of hooks, or of their configs, not {hooks!r}")
        for index, hook in enumerate(hooks):
            made, priority = self.assembler.hook(hook, f"{key}.{index}")
            with written_at(self.cfg, f"{key}.{index}"):
                self.table.add(made, priority, origin_of(self.cfg, f"{key}.{index}.type"))

    def register_hooks(
        self, default_hooks: Mapping[str, Any] | None = None, custom_hooks: Iterable[Any] | None = None
    ) -> None:
        """Add the default hooks, then the custom ones."""
        self.register_default_hooks(default_hooks)
        self.register_custom_hooks(custom_hooks or ())

    def call_hook(self, fn_name: str, **keywords: Any) -> None:
        """Run a point of the table, or any other method that some hooks have.

        Loops that are not ours name their points here and know of no signals, so these are looked at before each step.
        """
        if fn_name == "before_train_iter":
            self.check_signals()
        self.table.call(fn_name, **keywords)

    # -- files ------------------------------------------------------------------------------------------------------

    def save_checkpoint(
        self,
        path: str | Path,
        filename: str | None = None,
        *,
        optimizer: bool = True,
        schedulers: bool = True,
        on_done: Callable[[], None] | None = None,
        **mmengine: Any,
    ) -> None:
        """Write the whole state to `path`: whole or absent, never half.

        Args:
            path: Where to; relative paths lie in `work_dir`.
            filename: Name of the file, where `path` is its folder (hooks written for MMEngine call it so).
            optimizer: Keep the optimizer's state too.
            schedulers: Keep the schedulers' state too.
            on_done: Called once the file is complete, which is later where saving is asynchronous.
            **mmengine: `save_optimizer` and `save_param_scheduler`, MMEngine's names for two of them.
        """
        optimizer, schedulers = mmengine_options(mmengine, optimizer, schedulers)
        target = self.work_dir / path / (filename or "")
        self.checkpoints.save(target, optimizer=optimizer, schedulers=schedulers, on_done=on_done)

    def state_parts(self) -> list[Part]:
        """What a checkpoint holds. A new part is one line here; `seg_runner.checkpoint.state` says what a part is.

        They are restored in this order: the loop's counters first, from which the others count; the optimizer before
        the schedulers, which write into its groups; hooks after what they may look at; what is compared last.
        """
        loop, optimizer = self.train_loop, saved.Optimizer(self.optim_wrapper)
        return [
            Place(self, self, loop, self.checkpoints.identity, take_seed=self._take_seed),
            saved.Weights(self.model, self.hooks, self.parts["load_options"]),
            State("message_hub", self.message_hub, expected=True),
            optimizer,
            saved.Gradients(self.model, self.optim_wrapper),
            Schedulers(self.param_schedulers, optimizer, self),
            saved.Hooks(self.hooks),
            saved.Averages(self.hooks),
            State("loop", loop),
            saved.DataPosition(loop, self, resume_data=self.parts["resume_data"]),
            State("visualizer", self.visualizer),
            Changes(self),
        ]

    def _take_seed(self, seed: int) -> None:
        self.randomness = replace(self.randomness, seed=seed)

    def save_last(self) -> Path:
        """Write a checkpoint of this moment and point `last_checkpoint` at it; returns its path."""
        return self.checkpoints.save_last()

    def load_checkpoint(self, path: str | Path, **options: Any) -> None:
        """Take over the weights of a file; differences are listed in the log.

        Args:
            path: The file.
            **options: `strict`, `key`, `revise_keys` as `seg_runner.load_weights` takes them; `unsafe=True` for a file
                that you trust and that can only be read by running code from it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not one of its weights is one of the model's.
            RuntimeError: with `strict`, where names or shapes differ.
        """
        self.checkpoints.load_weights(path, **options)

    def resume(self, path: str | Path | None = None) -> None:
        """Go on from a checkpoint: weights, optimizer, schedulers, position in the data, hooks.

        Args:
            path: The file; None: the newest whole one of `work_dir`, or a fresh start where there is none.
        """
        self.checkpoints.resume(path)

    def load_or_resume(self) -> None:
        """Load `load_from`, or resume, as the arguments say; once in the life of a runner."""
        self.checkpoints.load_or_resume()

    # -- what loops and hooks ask for -------------------------------------------------------------------------------

    def build_dataloader(self, dataloader: Any, **ignored: Any) -> Any:
        """The loader of a config; a ready one passes through."""
        return self.assembler.dataloader(dataloader, "dataloader", self.randomness)

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        """The record and the line of one log point (`finished`: the summary of a validation or test)."""
        make = self.log_processor.get_log_after_epoch if finished else self.log_processor.get_log_after_iter
        record, text = make(self, batch_idx, mode)
        if mode == "train":
            self._look_at_losses()
        return record, text

    def _look_at_losses(self) -> None:
        """One warning for the first loss that is not finite; the log point has just brought the values over."""
        found = self._losses.first(self.message_hub.log_scalars, self.finished_iters)
        if found is not None:
            self.logger.warning(
                "iteration %d: %s is not finite, for the first time. Training goes on; a checkpoint with weights that "
                "are not finite is marked. NanGuardHook stops at such a step and says which samples were in it.",
                found[0],
                ", ".join(found[1]),
            )

    def check_signals(self) -> None:
        """Called between two steps: finish a save that is through; save and stop if a signal asked for it."""
        self.saver.check()
        if self.signals is not None and self.signals.requested is not None:
            stopping.stop_for_signal(self, self.signals.requested)
