"""The Runner: what a run does and in which order, where it stands, and its checkpoints; its parts: `BaseRunner`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, cast

from torch import nn

from seg_runner.assembly.arguments import Arguments
from seg_runner.assembly.base_runner import BaseRunner
from seg_runner.assembly.from_config import arguments_of, drop_scopes, runner_class
from seg_runner.assembly.own_keys import keep_apart
from seg_runner.checkpoint import parts as saved
from seg_runner.checkpoint.checkpoints import Checkpoints
from seg_runner.checkpoint.meta import Changes, Meta
from seg_runner.checkpoint.remote import told_where_to_put
from seg_runner.checkpoint.schedulers import Schedulers
from seg_runner.checkpoint.state import Part, State
from seg_runner.distributed.agreement import Agreement
from seg_runner.distributed.strategy import Shards
from seg_runner.mmengine.calls import load_options, one_of, resume_without, save_options
from seg_runner.mmengine.configs import config_for
from seg_runner.model.prepare import init_weights
from seg_runner.model.wrapping import unwrap
from seg_runner.process.signals import StopSignals
from seg_runner.protocols import Builder, Config
from seg_runner.run.around import session
from seg_runner.run.at_address import bring_over
from seg_runner.run.data_checks import report_data
from seg_runner.run.earlier_run import clear_folder
from seg_runner.run.ignore_index import align_ignore_index, align_with_metrics
from seg_runner.run.preflight import check_before_training
from seg_runner.run.record import write_record
from seg_runner.run.restarts import TRIES
from seg_runner.run.same_everywhere import check_same_everywhere
from seg_runner.run.session import heed_signals
from seg_runner.run.start import change_modules, check_steps, compile_steps, need, tell_where_it_begins

__all__ = ["Runner"]


class Runner(BaseRunner):
    """Trains, validates and tests a model; every part is an object, or a dict where a builder is installed.

    Args:
        model: A `torch.nn.Module` that gives logits (then `loss` says how to train it), or one with `train_step`,
            `val_step`, `test_step`.
        work_dir: Folder of the run: checkpoints, and one folder of logs per start.
        **more: Everything else, by the names of a config; see `seg_runner.assembly.arguments.Arguments`.

    Raises:
        TypeError: An argument that there is none of, or a part that is not of the right kind.
        ValueError: Arguments that do not go together; the message says what is missing.

    Example:
        >>> runner = Runner(                                                    # doctest: +SKIP
        ...     model=net, loss=torch.nn.CrossEntropyLoss(), train_dataloader=loader,
        ...     optim_wrapper=torch.optim.AdamW(net.parameters()), train_cfg=dict(max_iters=100), work_dir="out")
        >>> runner.train()                                                      # doctest: +SKIP
    """

    def __init__(self, model: nn.Module | Mapping[str, Any], work_dir: str | Path, **more: Unpack[Arguments]) -> None:
        self.started = False  # whether a training was prepared: weights initialised or loaded, modules changed
        self.underway = False  # whether a first step was reached: from then on the folders of this start stay
        self.began_at: int | None = None  # finished iterations when this training began; None before its first step
        self.ahead = (0, 0)  # iterations and epochs that are done, but that a loop from elsewhere does not count yet
        self.lost = ""  # what the end of a training could not save
        self.signals: StopSignals | None = None
        self.agreement: Agreement | None = None
        super().__init__(model, work_dir, more)
        self.checkpoints = Checkpoints(
            run=self,  # two facets of one runner: where it writes,
            training=self,  # and what is trained, and how far
            arguments=self.arguments,
            parts=self.state_parts,
            saver=self.saver,
            message_hub=self.message_hub,
            visualizer=lambda: self.visualizer,
        )

    @classmethod
    def from_cfg(cls, cfg: Config, build: Builder | None = None, *, overwrite: bool = False) -> Runner:
        """Return a runner from a whole config, with the six default hooks.

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
        own: Any = copy.deepcopy(cfg)
        keep_apart(own)
        drop_scopes(own)
        kind = runner_class(cls, own, build)
        more = {"overwrite": True} if overwrite else {}
        runner: Runner = kind(**arguments_of(own), **more, cfg=own, build=build)
        return runner

    def __repr__(self) -> str:
        kind, done = type(unwrap(self.model)).__name__, f"iteration {self.finished_iters} of {self.max_iters}"
        return f"{type(self).__name__}({kind}, {done}, work_dir={str(self.work_dir)!r})"

    # -- running ----------------------------------------------------------------------------------------------------

    def train(self) -> Any:
        """Train (or go on training) to the end; returns the model.

        Raises:
            RuntimeError: the runner was made without a training part.
        """
        need(self.arguments, "train")
        self.began_at = None
        with session(self, "train") as ended:
            self.build_training()
            check_steps(self.model, "train", "val" if self.val_loop is not None else "train")
            check_same_everywhere(self)
            self.call_hook("before_run")
            self._prepare_training()
            model = self.train_loop.run()
            self.call_hook("after_run")
        self.lost = ended.lost
        return model

    def _prepare_training(self) -> None:
        """Go from built parts to the first step: weights, resume, counts, compilation, checks.

        In this order: what a file holds goes over the weights that the model initialised itself; the wrapper counts
        from the iteration that a resume has set; an earlier run's files go last.
        """
        first = not self.started
        if first:
            with told_where_to_put(self.model):
                init_weights(self.model)
            self.strategy.align(self.model)
            change_modules(self)
            if self.strategy.shards:
                cast("Shards", self.strategy).shard(self.model, self.optim_wrapper)
        self.load_or_resume()
        counts = getattr(self.optim_wrapper, "initialize_count_status", None)
        if callable(counts):
            counts(self.model, getattr(self.train_loop, "iter", 0), getattr(self.train_loop, "max_iters", -1))
        if first:
            compile_steps(self)
        self.started = True
        align_ignore_index(self)
        if first and not self.arguments["skip_checks"]:
            check_before_training(self)
        if not self.underway:
            self._record("train")
            # after all that can fail, so that a start that fails deletes nothing
            self.world.first(lambda: clear_folder(self))
        bring_over(self)
        tell_where_it_begins(self)
        self.began_at = self.finished_iters
        if self.signals is not None:
            self.signals.waiting = False

    def val(self) -> dict[str, Any]:
        """Validate the model as it is now (loading `load_from` or `resume` if nothing ran yet); returns the metrics."""
        return self._evaluate("val")

    def test(self) -> dict[str, Any]:
        """Test the model as it is now (loading `load_from` or `resume` if nothing ran yet); returns the metrics."""
        return self._evaluate("test")

    def _evaluate(self, mode: str) -> dict[str, Any]:
        need(self.arguments, mode)
        with session(self, mode):
            first = getattr(self, f"{mode}_loop") is None
            loop = self.build_evaluation(mode)
            check_steps(self.model, mode)
            self.call_hook("before_run")
            self.checkpoints.load_for_evaluation()
            align_with_metrics(loop, mode, self.logger)
            if first and not self.arguments["skip_checks"]:
                report_data(self, mode)
            if not self.underway:
                self._record(mode)
            bring_over(self)
            metrics: dict[str, Any] = loop.run()
            self.call_hook("after_run")
        return metrics

    def _record(self, mode: str) -> None:
        """Leave the files that repeat the run, right before its first step; a start that failed leaves none."""
        kept = {"seed": self.seed, "stream": self.randomness.stream, "experiment_name": self.experiment_name}
        kept |= {"world_size": self.world_size, TRIES: dict(self.world.tries)}
        if self.rank == 0:
            write_record(self.log_dir, cfg=self.cfg, work_dir=self.work_dir, facts=kept, keep=mode != "train")
        if self.cfg is not None and callable(getattr(self.visualizer, "add_config", None)):
            self.visualizer.add_config(config_for(self.visualizer, self.cfg))
        self.underway = True

    # -- where it stands --------------------------------------------------------------------------------------------

    @property
    def iter(self) -> int:
        """Return the finished training iterations; inside `after_train_iter` the step is not yet counted."""
        return getattr(self.train_loop, "iter", 0)

    @property
    def epoch(self) -> int:
        """Return the finished epochs; stays 0 in iteration loops."""
        return getattr(self.train_loop, "epoch", 0)

    @property
    def max_iters(self) -> int:
        """Return the iterations of the whole run; 0 where nothing is trained or the loop is not built yet."""
        return getattr(self.train_loop, "max_iters", 0)

    @property
    def max_epochs(self) -> int:
        """Return the epochs of the whole run; 1 in iteration loops, 0 where nothing is trained."""
        return getattr(self.train_loop, "max_epochs", 0)

    @property
    def finished_iters(self) -> int:
        """Return the iterations whose update is done, the one counted in which an `after_train_iter` hook asks."""
        return getattr(self.train_loop, "finished_iters", self.iter + self.ahead[0])

    @property
    def finished_epochs(self) -> int:
        """Return the epochs whose last step is done, the one counted in which an `after_train_epoch` hook asks."""
        return getattr(self.train_loop, "finished_epochs", self.epoch + self.ahead[1] * self.counts_epochs)

    # -- between two steps ------------------------------------------------------------------------------------------

    def call_hook(self, fn_name: str, **keywords: object) -> None:
        """Run a point of the table, or any other method that some hooks have.

        A loop from elsewhere calls its points by this method and knows of no signals, so they are checked here, before
        each of its steps.
        """
        if fn_name == "before_train_iter":
            self.check_signals()
        self.ahead = {"after_train_iter": (1, 0), "after_train_epoch": (0, 1)}.get(fn_name, (0, 0))
        try:
            self.table.call(fn_name, **keywords)
        finally:
            self.ahead = (0, 0)

    def hear(self, signals: StopSignals | None, agreement: Agreement | None = None) -> None:
        """Take over what may stop a training that begins; None: nothing does any more."""
        self.signals, self.agreement = signals, agreement

    def check_signals(self, now: bool = False) -> None:
        """Finish, between two steps, a save that is through; save and stop if a signal asked for it.

        Several ranks ask one another where it is due, or `now`: all of them are at this place.
        """
        if self.agreement is not None or self.saver.ready or (self.signals and self.signals.requested):
            heed_signals(self, now)

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        """Return the record and the line of one log point (`finished`: the summary of a validation or test).

        Several ranks all call it: losses and the like are their mean, times the slowest's, memory the most.
        """
        make = self.log_processor.get_log_after_epoch if finished else self.log_processor.get_log_after_iter
        if mode == "train":
            self.across.bad = self.loss_watch.first(self.message_hub.log_scalars, self.finished_iters)
        record, text = make(self, batch_idx, mode)
        self.across.warn(self.logger)
        return record, text

    # -- files ------------------------------------------------------------------------------------------------------

    def save_checkpoint(
        self,
        path: str | Path | None = None,
        filename: str | None = None,
        *theirs: object,
        optimizer: bool = True,
        schedulers: bool = True,
        on_done: Callable[[], None] | None = None,
        **mmengine: Any,
    ) -> None:
        """Write the whole state: whole or absent, never half.

        Args:
            path: The file, or with `filename` its folder; relative paths lie in `work_dir`.
            filename: Name of the file.
            *theirs: What MMEngine takes besides, in its order: `file_client_args`, `save_optimizer`, ...
            optimizer: Keep the optimizer's state too.
            schedulers: Keep the schedulers' state too.
            on_done: Called once the file is complete, which is later where saving is asynchronous.
            **mmengine: The same by name.
        """
        folder = one_of("out_dir", path, mmengine)
        optimizer, schedulers, meta = save_options(theirs, mmengine, optimizer, schedulers)
        target = self.work_dir / folder / (filename or "")
        self.checkpoints.save(target, optimizer=optimizer, schedulers=schedulers, on_done=on_done, meta=meta)

    def state_parts(self) -> list[Part]:
        """List what a checkpoint holds. A new part is one line here; `seg_runner.checkpoint.state` says what a part is.

        They are restored in this order: the loop's counters first, from which the others count; the optimizer before
        the schedulers, which write into its groups; hooks after what they may look at; what is compared last.
        """
        loop, optimizer = self.train_loop, saved.Optimizer(self.optim_wrapper)
        return [
            Meta(run=self, progress=self, loop=loop, identity=self.checkpoints.identity, take_seed=self._take_seed),
            saved.Weights(self.model, self.hooks, self.arguments["load_options"]),
            State("message_hub", self.message_hub, expected=True),
            optimizer,
            saved.Gradients(self.model, self.optim_wrapper),
            Schedulers(self.param_schedulers, optimizer, self),
            saved.Hooks(self.hooks),
            saved.Averages(self.hooks),
            State("loop", loop),
            saved.DataPosition(loop, self, resume_data=self.arguments["resume_data"]),
            State("visualizer", self.visualizer),
            Changes(self),
        ]

    def _take_seed(self, seed: int) -> None:
        self.randomness = replace(self.randomness, seed=seed)

    def save_last(self) -> Path:
        """Write a checkpoint of this moment and point `last_checkpoint` at it; returns its path."""
        return self.checkpoints.save_last()

    def load_checkpoint(self, path: str | Path | None = None, *theirs: object, **options: Any) -> None:
        """Take over the weights of a file; differences are listed in the log.

        Args:
            path: The file.
            *theirs: What MMEngine takes besides, in its order: `map_location`, `strict`, `revise_keys`.
            **options: `strict`, `key`, `revise_keys` as `seg_runner.load_weights` takes them; `unsafe=True` for a file
                that you trust and that can only be read by running code from it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not one of its weights is one of the model's.
            RuntimeError: with `strict`, where names or shapes differ.
        """
        file = one_of("filename", path, options)
        self.checkpoints.load_weights(file, **load_options(theirs, options))

    def resume(self, path: str | Path | None = None, *theirs: object, **options: Any) -> None:
        """Go on from a checkpoint: weights, optimizer, schedulers, position in the data, hooks.

        Args:
            path: The file; None: the newest whole one of `work_dir`, or a fresh start where there is none.
            *theirs: What MMEngine takes besides, in its order: `resume_optimizer`, ...
            **options: The same by name; `resume_optimizer=False` leaves it out.
        """
        file = options.pop("filename", None) if path is None else path
        if self.arguments["train_cfg"] is not None:
            with self.instances:
                self.build_training()  # before the first step, too, the loop's counters and the optimizer are resumed
        self.checkpoints.resume(file, resume_without(theirs, options))

    def load_or_resume(self) -> None:
        """Load `load_from`, or resume, as the arguments say; once in the life of a runner."""
        self.checkpoints.load_or_resume()
