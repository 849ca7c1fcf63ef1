"""TrainState: the hooks of this package in a training loop that somebody wrote by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seg_hooks.checks import allowed_options, flag, refuse_unknown, whole
from seg_hooks.files import clean_leftovers
from seg_hooks.hooks.nan_replay import replaying
from seg_hooks.own_loop import arguments
from seg_hooks.own_loop.checkpoints import Checkpoints
from seg_hooks.own_loop.lock import only_run
from seg_hooks.own_loop.log import RunLog
from seg_hooks.own_loop.passes import Passes
from seg_hooks.own_loop.points import OptimizerView, Points
from seg_hooks.own_loop.record_sink import RecordSink, adapt, purge
from seg_hooks.own_loop.scalars import ScalarStore
from seg_hooks.protocols import Stateful

__all__ = ["TrainState"]

Batch = TypeVar("Batch")


class TrainState:
    """Runs hooks in your own training loop, saves and resumes it, and writes its logs.

    The run lies in `work_dir`: whole-or-absent checkpoints that load with `weights_only=True`, and per session a
    folder with a text log and JSON lines. RuntimeInfoHook and IterTimerHook are added where they are missing.
    A resumed run goes on within the pass over the data: its first batches are read again and thrown away, and the
    random numbers of workers and of generators in the data set are as they were. A loader without a length starts
    from the beginning, unless it keeps its place itself; a line 'not restored: ...' says what could not be as it was.

    Args:
        model: The model, wrapped by DDP or torch.compile or not.
        optimizer: A torch optimizer; its rates are logged and its state is saved.
        work_dir: Folder of the run, the same over resumes.
        max_iters: Steps of the whole run.
        hooks: Hooks, or any objects with methods named after points; run by priority, then in this order.
        schedulers: Saved and resumed; you step them, or ParamSchedulerHook does where they count iterations.
        extra: Other parts with `state_dict` and `load_state_dict` to be saved and resumed, by name (a GradScaler).
        writer: A TensorBoard `SummaryWriter` or a W&B run; gets `train/...` and `val/...` on the axis of iterations.
        overwrite: Delete the checkpoints that an earlier run left in `work_dir`. Without it, and without `resume()`,
            a run does not begin there.
    """

    epoch = 0  # one pass of `max_iters` steps counts as one long epoch, however often the loader starts again
    max_epochs = 1
    cfg: object = None
    seed: int | None = None
    val_dataloader: object = None
    test_dataloader: object = None

    def __new__(cls, *args: object, **kwargs: object) -> TrainState:
        """Refuse options that do not exist, naming the nearest that does."""
        refuse_unknown("TrainState", kwargs, allowed_options(cls.__init__))
        return super().__new__(cls)

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        work_dir: str | Path,
        max_iters: int,
        hooks: Iterable[object] = (),
        schedulers: Iterable[Stateful] | Stateful = (),
        extra: Mapping[str, Stateful] | None = None,
        writer: object = None,
        overwrite: bool = False,
    ) -> None:
        arguments.refuse_several()
        parts = arguments.check_parts(model, optimizer, schedulers, extra, hooks)
        self.points = Points(parts.hooks)
        self.max_iters = whole("TrainState", "max_iters", max_iters, least=1)
        self.iter = 0
        self.stop_training = False
        self.resuming = False  # True inside `after_load_checkpoint` of a resume
        self.optim_wrapper = OptimizerView(optimizer)
        self.passes = Passes()
        curves, overwrite = adapt(writer), flag("TrainState", "overwrite", overwrite)
        folder = arguments.make_folder(work_dir)
        self._log = RunLog(folder, self.max_iters, curves, partial(purge, writer))
        if left := clean_leftovers(folder):
            self.logger.info("Removed what a killed save left behind: %s", ", ".join(left))
        self._checkpoints = Checkpoints(parts, self.message_hub, self.passes, folder, self.logger, overwrite)
        self._lock: ExitStack | None = None  # the folder's, held inside `with state:`
        self._in_step = False  # inside `after_train_iter`: the update is done, and `iter` does not count it yet
        self._was_training: bool | None = None  # the model's mode before the validation that is open; None: none is

    @property
    def model(self) -> nn.Module:
        """The model, as it was given."""
        return self._checkpoints.parts.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        self._checkpoints.parts.model = model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, as it was given."""
        return self._checkpoints.parts.optimizer

    @property
    def param_schedulers(self) -> list[Stateful]:
        """The schedulers, in a list."""
        return self._checkpoints.parts.schedulers

    @property
    def extra(self) -> dict[str, Stateful]:
        """The other parts that are saved and resumed, by name."""
        return self._checkpoints.parts.extra

    @property
    def hooks(self) -> list[object]:
        """The hooks in the order in which they run."""
        return self._checkpoints.parts.hooks

    @property
    def train_loop(self) -> TrainState:
        """The object whose `stop_training` a hook sets."""
        return self

    @property
    def train_dataloader(self) -> object:
        """The loader that was given to `batches()`; None before."""
        return self.passes.loader

    @train_dataloader.setter
    def train_dataloader(self, loader: Iterable[object]) -> None:
        self.passes.loader = loader

    @property
    def message_hub(self) -> ScalarStore:
        """The last values of each scalar, and facts about the run."""
        return self._log.hub

    @property
    def logger(self) -> logging.Logger:
        """The logger of this session: the terminal, and the text file in `log_dir`."""
        return self._log.logger

    @property
    def visualizer(self) -> RecordSink:
        """Takes records: JSON lines in `log_dir`, and the curves of `writer`."""
        return self._log.sink

    @property
    def log_dir(self) -> Path:
        """Folder of this session's log files."""
        return self._log.folder

    @property
    def work_dir(self) -> Path:
        """Folder of the run, the same over resumes."""
        return self._checkpoints.work_dir

    @property
    def experiment_name(self) -> str:
        """Name of the run: that of its folder."""
        return self._checkpoints.experiment_name

    def resume(self, path: str | Path | None = None, data: bool = True) -> Path | None:
        """Go on from the newest whole checkpoint of `work_dir`; its path, or None where there is none.

        Args:
            path: Go on from this file instead: a best one, one of another run.
            data: Also go on within the pass over the data; False begins a new one, which reads nothing again.
        """
        if self._lock is not None:
            raise RuntimeError("TrainState: call resume() before `with state:`; inside it, the hooks already count.")
        found = self._checkpoints.find(path)
        if found is None:
            self._log.is_resumed = not replaying()  # what records there are belong to steps that are made again
            return None
        path, checkpoint = found
        missing = self._restore(path, checkpoint, data)
        self.iter = int(checkpoint["meta"]["iter"])
        of_this_run = path.resolve().is_relative_to(self.work_dir.resolve())
        self._log.is_resumed = of_this_run and not replaying()  # a replay leaves the run's records as they are
        if self._log.is_resumed:
            self._checkpoints.warn_of_newer_interrupted(self.iter)
        rest = f"; not in the file: {', '.join(missing)}" if missing else ""
        self.logger.info("Resumed from %s at iteration %d%s", path, self.iter, rest)
        return path

    def _restore(self, path: Path, checkpoint: dict[str, Any], data: bool) -> list[str]:
        self.resuming = True
        try:
            self.points.fire("after_load_checkpoint", self, checkpoint=checkpoint)
            return self._checkpoints.restore(checkpoint, data)
        except Exception as error:
            error.add_note(f"while resuming from {path}; is it the checkpoint of another model or optimizer?")
            raise
        finally:
            self.resuming = False

    def __enter__(self) -> TrainState:
        """Begin the run, if it is the only one in its folder.

        Raises:
            FileExistsError: an earlier run has left checkpoints there.
            RuntimeError: another process is training there.
        """
        lock = ExitStack()
        lock.enter_context(only_run(self.work_dir))
        try:
            self._checkpoints.check_start(self.iter)
            self._log.begin(self.iter)  # not before the lock is held: another run may be writing the records
            self._lock = lock
            for point in ("before_run", "before_train", "before_train_epoch"):
                self.points.fire(point, self)
        except BaseException:
            self._lock = None
            lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run: what is due is saved, raw weights are put back."""
        try:
            self._settle(failed=error is not None)  # a validation that failed: EMAHook gives back in after_run
            if error is None:
                self.points.fire("after_train_epoch", self)
                self.points.fire("after_train", self)
                self._log.warn_of_losses(self.iter)  # where nothing was logged or saved, nobody has looked yet
        finally:
            lock, self._lock = self._lock, None
            if lock is not None:
                lock.close()
            self.points.fire("after_run", self)

    def _must_be_inside(self, what: str) -> None:
        if self._lock is None:
            raise RuntimeError(
                f"TrainState: {what} was called outside of `with state:`; call it inside, as the hooks begin and end "
                "with that block."
            )

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the loader's batches, pass after pass, until `max_iters` steps are done or a hook stops the run."""
        self._must_be_inside("batches()")
        arguments.iterable(loader)
        self.passes.running = True
        try:
            while not self._is_over():
                before = self.iter
                yield from self._one_pass(self.passes.begin(loader, self.iter, self.logger))
                if self.iter == before and not self._is_over():
                    raise ValueError(
                        "TrainState: a pass over the loader gave no step. Is the loader empty, an iterator that is "
                        "used up, or after_step() missing in the loop?"
                    )
        finally:
            self.passes.running = False

    def _one_pass(self, iterator: Iterator[Batch]) -> Iterator[Batch]:
        while not self._is_over():
            try:
                batch = self.passes.next_batch(iterator)
            except StopIteration:
                self.passes.end()
                return
            self.points.fire("before_train_iter", self, batch_idx=self.iter, data_batch=batch)
            yield batch
            self._settle()

    def _is_over(self) -> bool:
        return self.iter >= self.max_iters or self.stop_training

    def after_step(self, loss: object = None, grad_norm: object = None, **values: object) -> None:
        """Say that a step is done. What is given is logged; tensors may stay on their device, nothing waits for it."""
        if self._lock is None or self._was_training is not None:  # one test per step: both are rare
            self._must_be_inside("after_step()")  # raises where the lock is not held; else a validation is open
            self._close_validation()
        outputs = values if loss is None else {"loss": loss, **values}
        for name, value in outputs.items():
            if isinstance(value, Tensor):
                outputs[name] = value.detach()
        self.optim_wrapper.grad_norm = grad_norm
        self._in_step = True
        batch = self.passes.batch
        self.points.fire("after_train_iter", self, batch_idx=self.iter, data_batch=batch, outputs=outputs)
        self._in_step = False
        self.iter += 1

    @property
    def _finished(self) -> int:
        """Iterations whose update is done; in `after_train_iter` the step is not yet counted in `iter`."""
        return self.iter + self._in_step

    def every(self, n: int) -> bool:
        """Tell whether validation is due: at every `n`-th step and the last. The averaged weights are put in if so."""
        self._must_be_inside("every()")
        n = whole("TrainState.every", "n", n, least=1)
        if self.iter == 0 or (self.iter % n and self.iter != self.max_iters):
            return False
        if self._was_training is None:
            self._open_validation()
            self.points.fire("before_val_epoch", self)
        return True

    def _open_validation(self) -> None:
        self._was_training = self.model.training
        self.message_hub.forget("val/")
        self.points.fire("before_val", self)

    def validated(self, metrics: Mapping[str, object]) -> None:
        """Say that validation is done; hooks log the metrics, save the best, and put the raw weights back."""
        if not isinstance(metrics, Mapping):
            raise TypeError(f"TrainState.validated: metrics is a {type(metrics).__name__}; give a dict of names.")
        self._must_be_inside("validated()")
        if self._was_training is None:
            self._open_validation()
        self._end_validation({str(name): value for name, value in metrics.items()})

    def _close_validation(self) -> None:
        """End a validation that gave no metrics."""
        self._end_validation(None)
        self.logger.warning("every() returned True, but validated() was not called; the raw weights were put back.")

    def _end_validation(self, metrics: dict[str, object] | None) -> None:
        training, self._was_training = bool(self._was_training), None
        if self.model.training != training:
            self.model.train(training)
        self.points.fire("after_val_epoch", self, metrics=metrics)
        self.points.fire("after_val", self)

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        """Return one record and its line of text, from what the hooks have stored."""
        return self._log.record(mode, batch_idx + 1 if mode == "train" else self.iter)

    def save_checkpoint(
        self,
        path: str | Path,
        *,
        optimizer: bool = True,
        schedulers: bool = True,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        """Write a whole-or-absent file. One asked for by a hook during `after_step` is written after the validation.

        So the state of hooks in it knows that validation, and a resumed run need not repeat it. A full or failing
        disk is reported, with the file from which a resume goes on; the earlier files stay, and training goes on.

        A file that you save yourself (on a signal, after an exception) as `iter_N.pth` or `interrupted_iter_N.pth` in
        `work_dir` counts for `max_keep_ckpts` like regular ones; one of another name stays until you delete it.
        """
        write = partial(self._write, Path(path), optimizer, schedulers, on_done)
        if self.passes.running and self._in_step:
            self._checkpoints.postponed.append(write)
        else:
            write()

    def _write(self, path: Path, optimizer: bool, schedulers: bool, on_done: Callable[[], None] | None) -> None:
        if on_done is None and self._checkpoints.counts(path):
            self.points.tell("before_extra_checkpoint", self, path)
            on_done = partial(self._count, path)
        checkpoint = self._checkpoints.gather(self._finished, optimizer=optimizer, schedulers=schedulers)
        self.points.fire("before_save_checkpoint", self, checkpoint=checkpoint)
        self._checkpoints.mark(checkpoint)
        self._log.warn_of_losses(self._finished)
        self._checkpoints.write(path, checkpoint, on_done)

    def _count(self, path: Path) -> None:
        """Count a file that no hook asked for, now that it is whole, and point to it if its weights are finite."""
        self._checkpoints.point_to(path)
        self.points.tell("after_extra_checkpoint", self, path)

    def _settle(self, failed: bool = False) -> None:
        """End the step: close its validation, write what is due, and keep both out of the timing."""
        if self._was_training is not None and not failed:
            self._close_validation()
        if self._checkpoints.postponed:
            self._checkpoints.write_postponed()
