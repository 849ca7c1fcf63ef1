"""TrainState: the hooks of this package in a training loop that somebody wrote by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from seg_hooks.checks import allowed_options, flag, refuse_unknown, whole
from seg_hooks.files import clean_leftovers
from seg_hooks.hooks.nan_replay import kept_checkpoint, last_step, replaying
from seg_hooks.model import finite
from seg_hooks.own_loop import arguments, records, saving, snapshots
from seg_hooks.own_loop.lock import check_folder, only_run
from seg_hooks.own_loop.passes import Passes
from seg_hooks.own_loop.points import OptimizerView, Points, in_order
from seg_hooks.own_loop.record_sink import RecordSink, adapt, earlier_records, purge
from seg_hooks.own_loop.scalars import ScalarStore
from seg_hooks.processes import rank

__all__ = ["TrainState"]

Pending = Callable[[], None]


class TrainState:
    """Runs hooks in your own training loop, saves and resumes it, and writes its logs.

    The run lies in `work_dir`: whole-or-absent checkpoints that load with `weights_only=True`, and per session a
    folder with a text log and JSON lines. RuntimeInfoHook and IterTimerHook are added where they are missing.
    A resumed run goes on within the pass over the data: its first batches are read again and thrown away, and the
    random numbers of workers and of generators in the data set are as they were. Only a loader without a length begins
    anew, unless it keeps its place itself; a line 'not restored: ...' says what could not be as it was.

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

    def __new__(cls, *args: Any, **kwargs: Any) -> TrainState:
        """Refuse options that do not exist, naming the nearest that does."""
        refuse_unknown("TrainState", kwargs, allowed_options(cls.__init__))
        return super().__new__(cls)

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        work_dir: str | Path,
        max_iters: int,
        hooks: Sequence[Any] = (),
        schedulers: Sequence[Any] = (),
        extra: Mapping[str, Any] | None = None,
        writer: Any = None,
        overwrite: bool = False,
    ) -> None:
        arguments.refuse_several()
        self.model = arguments.instance("model", model, nn.Module)
        self.optimizer = arguments.instance("optimizer", optimizer, torch.optim.Optimizer)
        self.param_schedulers = arguments.schedulers(schedulers)
        self.extra = arguments.parts(extra)
        self.hooks = in_order(arguments.with_defaults(hooks))
        self.points = Points(self.hooks)
        self.max_iters = whole("TrainState", "max_iters", max_iters, least=1)
        self.max_epochs = 1
        self.epoch = 0
        self.iter = 0
        self.message_hub = ScalarStore()
        feed = adapt(writer)
        self.work_dir = arguments.make_folder(work_dir)
        self.experiment_name = self.work_dir.resolve().name
        first = rank() == 0  # the other processes of a distributed run write nothing
        self.log_dir = arguments.session_folder(self.work_dir) if first else self.work_dir / f"rank_{rank()}"
        self.logger = records.make_logger(self.log_dir / f"{self.log_dir.name}.log", rank())
        if first and (left := clean_leftovers(self.work_dir)):
            self.logger.info("Removed what a killed save left behind: %s", ", ".join(left))
        lines = self.log_dir / "vis_data" / "scalars.json"
        self.visualizer = RecordSink(None, None, self.logger)
        if first:
            self.visualizer = RecordSink(lines, feed, self.logger, partial(purge, writer))
        self.optim_wrapper = OptimizerView(optimizer)
        self.passes = Passes()
        self._saver = saving.Saver(self.work_dir, self.logger)
        self.cfg = self.seed = None
        self.train_dataloader: Any = None
        self.val_dataloader = self.test_dataloader = None
        self.train_loop = self
        self.stop_training = False
        self.resuming = False
        self._overwrite = flag("TrainState", "overwrite", overwrite)
        self._resumed = self._clean_records = False
        self._lock = ExitStack()
        self._inside = False
        self._finished = 0
        self._batch: Any = None
        self._in_batches = False
        self._validating = False
        self._was_training = True
        self._told = False
        self._pending: list[Pending] = []

    def resume(self, path: str | Path | None = None, data: bool = True) -> Path | None:
        """Go on from the newest whole checkpoint of `work_dir`; its path, or None where there is none.

        Args:
            path: Go on from this file instead: a best one, one of another run.
            data: Also go on within the pass over the data; False begins a new one, which reads nothing again.
        """
        if self._inside:
            raise RuntimeError("TrainState: resume() comes before `with state:`; hooks have begun to count by now.")
        self._resumed = True
        path = kept_checkpoint() if path is None else arguments.existing_file(path, self.work_dir)
        if path is None:
            found = snapshots.newest_whole(self.work_dir, self.logger, most=last_step())
        else:
            found = path, snapshots.read_whole(path)
        if found is None:
            if last_step() is None:
                snapshots.refuse_spoilt(self.work_dir)
            self._say_best_files()
            self._clean_records = not replaying()
            return None
        path, checkpoint = found
        if finite.is_marked(checkpoint):
            self.logger.warning("%s holds weights that are not finite.", path)
        missing = self._take(path, checkpoint, data)
        self.iter = self._finished = int(checkpoint["meta"]["iter"])
        of_this_run = path.resolve().is_relative_to(self.work_dir.resolve())
        if of_this_run and not replaying():
            snapshots.tell_broken_off(self.work_dir, self.iter, self.logger)
        self._clean_records = of_this_run and not replaying()  # a replay leaves the run's records as they are
        rest = f"; not in the file: {', '.join(missing)}" if missing else ""
        self.logger.info("Resumed from %s at iteration %d%s", path, self.iter, rest)
        return path

    def _say_best_files(self) -> None:
        best = sorted(path.name for path in self.work_dir.glob("best_*.pth"))
        if best:
            self.logger.warning("No regular checkpoint: the run begins anew. resume(%r) would go on.", best[-1])

    def _take(self, path: Path, checkpoint: dict[str, Any], data: bool) -> list[str]:
        self.resuming = True
        try:
            self.points.fire("after_load_checkpoint", self, checkpoint=checkpoint)
            return snapshots.restore(self, checkpoint, data)
        except Exception as error:
            error.add_note(f"while resuming from {path}; is it the checkpoint of another model or optimizer?")
            raise
        finally:
            self.resuming = False

    def __enter__(self) -> TrainState:
        """The run begins, if it is the only one in its folder.

        Raises:
            FileExistsError: an earlier run has left checkpoints there.
            RuntimeError: another process is training there.
        """
        if rank() == 0:
            self._lock.enter_context(only_run(self.work_dir))
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def _begin(self) -> None:
        if rank() == 0 and self.iter == 0 and not self._resumed and last_step() is None:
            check_folder(self.work_dir, self._overwrite, self.logger)
        for name, hook in snapshots.hook_names(self.hooks):
            if hasattr(hook, "state_dict"):
                snapshots.checked_state(name, hook)
        self._finished = self.iter
        if self._clean_records:  # not before the folder's lock is held: another run may be writing them
            self._clean_records = False
            self.visualizer.resume_from(self.iter, earlier_records(self.work_dir, self.log_dir))
        self._inside = True
        for point in ("before_run", "before_train", "before_train_epoch"):
            self.points.fire(point, self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The run ends: what is due is saved, raw weights are put back."""
        try:
            self._settle(failed=error is not None)  # a validation that failed: EMAHook gives back in after_run
            if error is None:
                self.points.fire("after_train_epoch", self)
                self.points.fire("after_train", self)
                self._tell_of_losses(self.iter)  # where nothing was logged or saved, nobody has looked yet
        finally:
            self._inside = False
            self._lock.close()
            self.points.fire("after_run", self)

    def _must_be_inside(self, what: str) -> None:
        if not self._inside:
            raise RuntimeError(f"TrainState: {what} outside of `with state:`; the hooks begin and end with that block.")

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The loader's batches, pass after pass, until `max_iters` steps are done or a hook stops the run."""
        self._must_be_inside("batches()")
        arguments.iterable(loader)
        self.train_dataloader = loader
        self._in_batches = True
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
            self._in_batches = False

    def _one_pass(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while not self._is_over():
            self.passes.before_batch()
            try:
                batch = next(iterator)
            except StopIteration:
                self.passes.end()
                return
            self._batch = batch
            self.passes.done += 1
            self.points.fire("before_train_iter", self, batch_idx=self.iter, data_batch=batch)
            yield batch
            self._settle()

    def _is_over(self) -> bool:
        return self.iter >= self.max_iters or self.stop_training

    def after_step(self, loss: Any = None, grad_norm: Any = None, **values: Any) -> None:
        """A step is done. What is given is logged; tensors may stay on their device, nothing waits for it."""
        if not self._inside or self._validating:
            self._must_be_inside("after_step()")
            self._close_validation()
        outputs = values if loss is None else {"loss": loss, **values}
        for name, value in outputs.items():
            if isinstance(value, Tensor):
                outputs[name] = value.detach()
        self.optim_wrapper.grad_norm = grad_norm
        self._finished = self.iter + 1
        self.points.fire("after_train_iter", self, batch_idx=self.iter, data_batch=self._batch, outputs=outputs)
        self.iter = self._finished

    def every(self, n: int) -> bool:
        """Whether validation is due: at every `n`-th step and the last. The averaged weights are put in if so."""
        self._must_be_inside("every()")
        n = whole("TrainState.every", "n", n, least=1)
        if self.iter == 0 or (self.iter % n and self.iter != self.max_iters):
            return False
        if not self._validating:
            self._open_validation()
            self.points.fire("before_val_epoch", self)
        return True

    def _open_validation(self) -> None:
        self._validating, self._was_training = True, self.model.training
        self.message_hub.forget("val/")
        self.points.fire("before_val", self)

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """Validation is done; hooks log the metrics, save the best, and put the raw weights back."""
        if not isinstance(metrics, Mapping):
            raise TypeError(f"TrainState.validated: metrics is a {type(metrics).__name__}; give a dict of names.")
        self._must_be_inside("validated()")
        if not self._validating:
            self._open_validation()
        self._validating = False
        if self.model.training != self._was_training:
            self.model.train(self._was_training)
        self.points.fire("after_val_epoch", self, metrics={str(name): value for name, value in metrics.items()})
        self.points.fire("after_val", self)

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        """One record and its line of text, from what the hooks have stored."""
        if mode == "train":
            record = records.train_record(self.message_hub, batch_idx + 1)
            if not all(math.isfinite(value) for name, value in record.items() if "loss" in name):
                self._tell_of_losses(batch_idx + 1)
            return record, records.train_text(record, self.max_iters, self.message_hub.get_info("eta"))
        record = records.val_record(self.message_hub, mode)
        return record, records.val_text(record, mode, self.iter, self.max_iters)

    def _tell_of_losses(self, step: int) -> None:
        """One warning for the first loss that is not finite; called where values were brought over anyway."""
        names = [name for name in self.message_hub.scalars if name.startswith("train/") and "loss" in name]
        losses = self.message_hub.read(names)
        found = None if self._told else finite.first_loss(losses, step)
        if found is None:
            return
        self._told = True
        first, terms = found
        whole = all(len(losses[name]) < self.message_hub.window or math.isfinite(losses[name][0]) for name in terms)
        self.logger.warning(
            "iteration %d%s: %s is not finite, for the first time. Training goes on; a checkpoint with weights that "
            "are not finite is marked. NanGuardHook stops at such a step and says which samples were in it.",
            first,
            "" if whole else " or before",
            ", ".join(name.removeprefix("train/") for name in terms),
        )

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

        def write() -> None:
            self._write(Path(path), optimizer, schedulers, on_done)

        if self._in_batches and self._finished > self.iter:
            self._pending.append(write)
        else:
            write()

    def _write(self, path: Path, optimizer: bool, schedulers: bool, on_done: Callable[[], None] | None) -> None:
        if on_done is None and saving.is_extra(path, self.work_dir):
            saving.tell_hooks(self.hooks, "before_extra_checkpoint", self, path)
            on_done = partial(saving.extra_done, self, path)
        checkpoint = snapshots.gather(self, self._finished, optimizer=optimizer, schedulers=schedulers)
        self.points.fire("before_save_checkpoint", self, checkpoint=checkpoint)
        bad = checkpoint["meta"]["not_finite"] = finite.not_finite(checkpoint)
        checkpoint["meta"]["optimizer_not_finite"] = finite.optimizer_not_finite(checkpoint)
        self.message_hub.update_info("checkpoint_finite", not bad, resumed=False)  # hooks keep, delete and point by it
        self._tell_of_losses(self._finished)
        self._saver.write(path, checkpoint, on_done)

    def _settle(self, failed: bool = False) -> None:
        """The step is over: close its validation, write what is due, and keep both out of the timing."""
        if self._validating and not failed:
            self._close_validation()
        if self._pending:
            began = time.perf_counter()
            pending, self._pending = self._pending, []
            for write in pending:
                write()
            self.message_hub.update_info("pause", time.perf_counter() - began, resumed=False)

    def _close_validation(self) -> None:
        """End a validation that gave no metrics."""
        self._validating = False
        if self.model.training != self._was_training:
            self.model.train(self._was_training)
        self.points.fire("after_val_epoch", self, metrics=None)
        self.points.fire("after_val", self)
        self.logger.warning("every() was true, and validated() was not called; the averaged weights were put back.")
