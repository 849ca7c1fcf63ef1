"""TrainState: the hooks of this package in a training loop that somebody wrote by hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from seg_hooks import records, snapshots
from seg_hooks.files import write_whole
from seg_hooks.hook import Hook
from seg_hooks.housekeeping import rank
from seg_hooks.iter_timer import IterTimerHook
from seg_hooks.options import whole
from seg_hooks.points import Points, in_order
from seg_hooks.runtime_info import RuntimeInfoHook
from seg_hooks.sampler_seed import set_epoch
from seg_hooks.scalars import ScalarStore
from seg_hooks.sink import RecordSink

__all__ = ["TrainState"]

Pending = Callable[[], None]


class TrainState:
    """Runs hooks in your own training loop, saves and resumes it, and writes its logs.

    The run lies in `work_dir`: whole-or-absent checkpoints that load with `weights_only=True`, and per session a
    folder with a text log and JSON lines. RuntimeInfoHook and IterTimerHook are added where they are missing.
    The order of data after a resume begins with a new pass over the loader.

    Args:
        model: The model, wrapped by DDP or torch.compile or not.
        optimizer: A torch optimizer; its rates are logged and its state is saved.
        work_dir: Folder of the run, the same over resumes.
        max_iters: Steps of the whole run.
        hooks: Hooks, or any objects with methods named after points; run by priority, then in this order.
        schedulers: Saved and resumed; you step them, or ParamSchedulerHook does where they count iterations.
        extra: Other parts with `state_dict` and `load_state_dict` to be saved and resumed, by name (a GradScaler).
        writer: A TensorBoard `SummaryWriter` or a W&B run; gets `train/...` and `val/...` on the axis of iterations.
    """

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
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.work_dir = _make_folder(work_dir)
        self.max_iters = whole("TrainState", "max_iters", max_iters, least=1)
        self.max_epochs = 1
        self.epoch = 0
        self.iter = 0
        self.param_schedulers = list(schedulers)
        self.extra = dict(extra or {})
        self.message_hub = ScalarStore()
        self.experiment_name = self.work_dir.resolve().name
        self.log_dir = _session_folder(self.work_dir)
        self.logger = records.make_logger(self.log_dir / f"{self.log_dir.name}.log", rank())
        self.visualizer = RecordSink(self.log_dir / "vis_data" / "scalars.json", writer, self.logger)
        self.optim_wrapper = OptimizerView(optimizer)
        self.hooks = in_order(_with_defaults(hooks))
        self.points = Points(self.hooks)
        self.cfg = self.seed = None
        self.train_dataloader: Any = None
        self.val_dataloader = self.test_dataloader = None
        self.train_loop = self
        self.stop_training = False
        self.resuming = False
        self._finished = 0
        self._batch: Any = None
        self._in_batches = False
        self._validating = False
        self._was_training = True
        self._pending: list[Pending] = []

    def resume(self) -> Path | None:
        """Go on from the newest whole checkpoint of `work_dir`; its path, or None where there is none."""
        found = snapshots.newest_whole(self.work_dir, self.logger)
        if found is None:
            return None
        path, checkpoint = found
        missing = self._take(path, checkpoint)
        self.iter = self._finished = int(checkpoint["meta"]["iter"])
        rest = f"; not in the file: {', '.join(missing)}" if missing else ""
        self.logger.info("Resumed from %s at iteration %d%s", path, self.iter, rest)
        return path

    def _take(self, path: Path, checkpoint: dict[str, Any]) -> list[str]:
        self.resuming = True
        try:
            self.points.fire("after_load_checkpoint", self, checkpoint=checkpoint)
            return snapshots.restore(self, checkpoint)
        except Exception as error:
            error.add_note(f"while resuming from {path}")
            raise
        finally:
            self.resuming = False

    def __enter__(self) -> TrainState:
        """The run begins."""
        self._finished = self.iter
        for point in ("before_run", "before_train", "before_train_epoch"):
            self.points.fire(point, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The run ends: what is due is saved, raw weights are put back."""
        try:
            self._settle(warn=error is None)
            if error is None:
                self.points.fire("after_train_epoch", self)
                self.points.fire("after_train", self)
        finally:
            self.points.fire("after_run", self)

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The loader's batches, pass after pass, until `max_iters` steps are done or a hook stops the run."""
        self.train_dataloader = loader
        length = len(loader) if isinstance(loader, Sized) else 0
        self._in_batches = True
        try:
            for number in itertools.count(self.iter // length if length else 0):
                set_epoch(loader, number)
                before = self.iter
                yield from self._one_pass(iter(loader))
                if self._is_over():
                    return
                if self.iter == before:
                    raise ValueError(
                        "TrainState: a pass over the loader gave no step. Is the loader empty, an iterator that is "
                        "used up, or after_step() missing in the loop?"
                    )
        finally:
            self._in_batches = False

    def _one_pass(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while not self._is_over():
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._batch = batch
            self.points.fire("before_train_iter", self, batch_idx=self.iter, data_batch=batch)
            yield batch
            self._settle()

    def _is_over(self) -> bool:
        return self.iter >= self.max_iters or self.stop_training

    def after_step(self, loss: Any = None, grad_norm: Any = None, **values: Any) -> None:
        """A step is done. What is given is logged; tensors may stay on their device, nothing waits for it."""
        self._close_validation(warn=True)
        outputs = values if loss is None else {"loss": loss, **values}
        for name, value in outputs.items():
            if isinstance(value, Tensor):
                outputs[name] = value.detach()
        self.optim_wrapper.grad_norm = grad_norm
        self._finished = self.iter + 1
        index, batch = self.iter, self._batch
        for call in self.points.table["after_train_iter"]:
            call(self, batch_idx=index, data_batch=batch, outputs=outputs)
        self.iter = self._finished

    def every(self, n: int) -> bool:
        """Whether validation is due: at every `n`-th step and the last. The averaged weights are put in if so."""
        if self.iter == 0 or (self.iter % n and self.iter != self.max_iters):
            return False
        if not self._validating:
            self._validating, self._was_training = True, self.model.training
            self.message_hub.forget("val/")
            self.points.fire("before_val", self)
            self.points.fire("before_val_epoch", self)
        return True

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """Validation is done; hooks log the metrics, save the best, and put the raw weights back."""
        if not isinstance(metrics, Mapping):
            raise TypeError(f"TrainState.validated: metrics is a {type(metrics).__name__}; give a dict of names.")
        if not self._validating:
            self.message_hub.forget("val/")
            self.points.fire("before_val", self)
        self._validating = False
        if self.model.training != self._was_training:
            self.model.train(self._was_training)
        self.points.fire("after_val_epoch", self, metrics=dict(metrics))
        self.points.fire("after_val", self)

    def log_record(self, mode: str, batch_idx: int, finished: bool = False) -> tuple[dict[str, Any], str]:
        """One record and its line of text, from what the hooks have stored."""
        if mode == "train":
            record = records.train_record(self.message_hub, batch_idx + 1)
            return record, records.train_text(record, self.max_iters, self.message_hub.get_info("eta"))
        record = records.val_record(self.message_hub, mode)
        return record, records.val_text(record, mode, self.iter, self.max_iters)

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
        disk is reported, the earlier files stay, and training goes on.
        """

        def write() -> None:
            self._write(Path(path), optimizer, schedulers, on_done)

        if self._in_batches and self._finished > self.iter:
            self._pending.append(write)
        else:
            write()

    def _write(self, path: Path, optimizer: bool, schedulers: bool, on_done: Callable[[], None] | None) -> None:
        checkpoint = snapshots.gather(self, self._finished, optimizer=optimizer, schedulers=schedulers)
        self.points.fire("before_save_checkpoint", self, checkpoint=checkpoint)
        if rank() == 0:
            try:
                write_whole(path, lambda file: torch.save(checkpoint, file))
            except OSError as error:
                self.logger.error(
                    "%s could not be written (%s); the earlier files stay, training goes on.", path, error
                )
                return
        if on_done is not None:
            on_done()

    def _settle(self, warn: bool = True) -> None:
        """The step is over: close its validation, write what is due, and keep both out of the timing."""
        if self._validating:
            self._close_validation(warn)
        if self._pending:
            began = time.perf_counter()
            pending, self._pending = self._pending, []
            for write in pending:
                write()
            self.message_hub.update_info("pause", time.perf_counter() - began, resumed=False)

    def _close_validation(self, warn: bool) -> None:
        if not self._validating:
            return
        self._validating = False
        self.points.fire("after_val_epoch", self, metrics=None)
        self.points.fire("after_val", self)
        if warn:
            self.logger.warning("every() was true, and validated() was not called; the averaged weights were put back.")


class OptimizerView:
    """What hooks ask of an optimizer: its rates and groups, and the last gradient norm."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.grad_norm: Any = None

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups."""
        return self.optimizer.param_groups

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the optimizer's state."""
        self.optimizer.load_state_dict(state_dict)

    def get_lr(self) -> dict[str, list[float]]:
        """`{'lr': [one per group]}`."""
        return {"lr": [group["lr"] for group in self.optimizer.param_groups]}


def _with_defaults(hooks: Sequence[Any]) -> list[Any]:
    """The hooks, and those that every run needs where they are missing, before hooks of the same priority."""
    needed: list[type[Hook]] = [RuntimeInfoHook, IterTimerHook]
    return [*(kind() for kind in needed if not any(isinstance(hook, kind) for hook in hooks)), *hooks]


def _make_folder(work_dir: Any) -> Path:
    if not isinstance(work_dir, str | Path):
        raise TypeError(f"TrainState: work_dir={work_dir!r} is a {type(work_dir).__name__}; give a folder.")
    folder = Path(work_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        error.add_note(f"TrainState: work_dir={str(work_dir)!r} cannot be made; give a folder that can be written.")
        raise
    return folder


def _session_folder(work_dir: Path) -> Path:
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    for name in itertools.chain([stamp], (f"{stamp}_{number}" for number in itertools.count(2))):
        try:
            (work_dir / name).mkdir()
        except FileExistsError:
            continue
        return work_dir / name
    raise AssertionError("the names never end")
