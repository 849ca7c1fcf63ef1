"""TrainState: the hooks of this package in a training loop that somebody wrote by hand."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from seg_hooks.checks import allowed_options, flag, refuse_unknown, whole
from seg_hooks.hooks.nan_replay import replaying
from seg_hooks.own_loop import arguments
from seg_hooks.own_loop.checkpoints import Checkpoints
from seg_hooks.own_loop.facets import Facets
from seg_hooks.own_loop.lock import only_run
from seg_hooks.own_loop.log import RunLog
from seg_hooks.own_loop.passes import Passes
from seg_hooks.own_loop.points import OptimizerView, Points
from seg_hooks.own_loop.record_sink import adapt, purge
from seg_hooks.own_loop.together import Together, exit_code, make_folders, same_metrics
from seg_hooks.processes.world import adopt_world
from seg_hooks.protocols import Stateful

__all__ = ["TrainState"]

Batch = TypeVar("Batch")


class TrainState(Facets):
    """Runs hooks in your own training loop, saves and resumes it, and writes its logs.

    The run lies in `work_dir`: whole-or-absent checkpoints that load with `weights_only=True`, and per session a
    folder with a text log and JSON lines. RuntimeInfoHook and IterTimerHook are added where they are missing.
    A resumed run goes on within the pass over the data: its first batches are read again and thrown away, and the
    random numbers of workers and of generators in the data set are as they were. A loader without a length starts
    from the beginning, unless it keeps its place itself; a line 'not restored: ...' says what could not be as it was.

    In several processes (torchrun, srun, mpirun) every rank makes a TrainState and calls the same methods of it: the
    process group that is there is taken, else one is made. Rank 0 holds the folder, writes and speaks, each rank has a
    text log of its own, and what is logged is the mean over all. SIGTERM, SIGINT or SIGUSR1 to any of them ends all
    after the same step, with one checkpoint and one exit code (128 + its number). You wrap the model in DDP yourself.

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
        parts = arguments.check_parts(model, optimizer, schedulers, extra, hooks)
        self.points = Points(parts.hooks)
        self.max_iters = whole("TrainState", "max_iters", max_iters, least=1)
        self.iter = 0
        self.stop_training = False
        self.resuming = False  # True inside `after_load_checkpoint` of a resume
        self.optim_wrapper = OptimizerView(optimizer)
        curves, overwrite = adapt(writer), flag("TrainState", "overwrite", overwrite)
        self._together = Together(world := adopt_world())
        self.passes = Passes(world.size)
        folder, session, left = world.first(partial(make_folders, work_dir))
        self._log = RunLog(session, self.max_iters, curves, partial(purge, writer), world)
        if left:
            self.logger.info("Removed what a killed save left behind: %s", ", ".join(left))
        self._checkpoints = Checkpoints(parts, self.message_hub, self.passes, folder, self.logger, overwrite, world)
        self._in_step = False  # inside `after_train_iter`: the update is done, and `iter` does not count it yet
        self._was_training: bool | None = None  # the model's mode before the validation that is open; None: none is

    def resume(self, path: str | Path | None = None, data: bool = True) -> Path | None:
        """Go on from the newest whole checkpoint of `work_dir`; its path, or None where there is none.

        Args:
            path: Go on from this file instead: a best one, one of another run.
            data: Also go on within the pass over the data; False begins a new one, which reads nothing again.
        """
        if self._together.lock is not None:
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

        def take() -> None:
            lock.enter_context(only_run(self.work_dir))
            self._checkpoints.check_start(self.iter)
            self._log.begin(self.iter)  # not before the lock is held: another run may be writing the records

        try:
            self._together.world.first(take)
            self._together.begin(lock, self, self.hooks)
            for point in ("before_run", "before_train", "before_train_epoch"):
                self.points.fire(point, self)
        except BaseException:
            self._together.lock = None
            lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run: what is due is saved, raw weights are put back."""
        came = 0
        try:
            self._settle(failed=error is not None)  # a validation that failed: EMAHook gives back in after_run
            if error is None:
                self.points.fire("after_train_epoch", self)
                self.points.fire("after_train", self)
                self._log.warn_of_losses(self.iter)  # where nothing was logged or saved, nobody has looked yet
                came = self._ask(now=True)
        finally:
            self._together.end()
            self.points.fire("after_run", self)
        if came:
            raise SystemExit(exit_code(came))

    def _must_be_inside(self, what: str) -> None:
        if self._together.lock is None:
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
            self._together.compare_lengths(loader, self.logger)
            self._meet(now=True)
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
            self._meet()

    def _is_over(self) -> bool:
        return self.iter >= self.max_iters or self._together.stops(self.stop_training)

    def _ask(self, now: bool = False) -> int:
        """Return the signal that came to any rank, where the ranks ask one another after this step; else 0."""
        came = self._together.ask(self.iter, self.stop_training, now)
        self.stop_training = self.stop_training or self._together.all_stop
        return came

    def _meet(self, now: bool = False) -> None:
        """End a step, or the run of all ranks where a signal came to one of them."""
        came = self._ask(now)
        if not came:
            return
        if self.iter not in (self._together.began_at, self._checkpoints.written):
            self.save_checkpoint(self.work_dir / f"iter_{self.iter}.pth")
        self.logger.warning("%s: all ranks leave after iteration %d.", signal.Signals(came).name, self.iter)
        raise SystemExit(exit_code(came))

    def after_step(self, loss: object = None, grad_norm: object = None, **values: object) -> None:
        """Say that a step is done. What is given is logged; tensors may stay on their device, nothing waits for it."""
        if self._together.lock is None or self._was_training is not None:  # one test per step: both are rare
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
        if not self.passes.running:
            self._meet()

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
        """Say that validation is done; hooks log the metrics, save the best, and put the raw weights back.

        Of several ranks those of rank 0 count, on all of them; the others may give an empty dict.
        """
        if not isinstance(metrics, Mapping):
            raise TypeError(f"TrainState.validated: metrics is a {type(metrics).__name__}; give a dict of names.")
        self._must_be_inside("validated()")
        if self._was_training is None:
            self._open_validation()
        own = {str(name): value for name, value in metrics.items()}
        self._end_validation(same_metrics(self._together.world, own, self.logger))

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
        self._together.ask_soon()  # a hook may have asked for the end

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
        if failed and self._together.world.size > 1:  # other ranks may be elsewhere, and would be waited for
            self._checkpoints.postponed.clear()
        if self._checkpoints.postponed:
            self._checkpoints.write_postponed()
