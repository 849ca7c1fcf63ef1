"""LoggerHook: lines of text, JSON records and curves, at intervals; nothing that fails here stops a run."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from seg_hooks.checks import flag, folder, refuse_remote, whole
from seg_hooks.conversions import to_json
from seg_hooks.files import append_line, beside, write_whole
from seg_hooks.hook import Hook
from seg_hooks.hooks.nan_replay import replaying
from seg_hooks.loaders import length_of
from seg_hooks.processes.world import rank
from seg_hooks.protocols import Data, Logs, Progress, Saves

__all__ = ["LoggerHook"]


class _Runner(Logs, Progress, Saves, Data, Protocol):
    pass


class LoggerHook(Hook[_Runner]):
    """Logs at intervals: a line of text, and a record for every backend of the visualizer.

    Every record carries `step`, `iter`, `epoch` and `mode` (train, val or test). The run's last iterations are
    logged too. A backend or disk that fails is reported once and tried again with the records it missed, which are
    also kept as JSON lines in `<log_dir>/unsent.json`.

    Args:
        interval: Log at every so many batches.
        ignore_last: Leave out the batches after the last full interval of an epoch (never those of the run).
        interval_exp_name: Print the experiment's name at every so many iterations.
        out_dir: After the run copy the logs to a folder of the work directory's name in here.
        out_suffix: Which files are copied.
        keep_local: Keep the local files after copying.
        file_client_args: Old spelling of `backend_args`.
        log_metric_by_epoch: The `step` of metrics is the epoch, in epoch loops; else the iteration.
        backend_args: Only the local disk: None or `dict(backend='local')`.

    Example:
        >>> LoggerHook(interval=50, log_metric_by_epoch=False).interval
        50
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: int = 10,
        ignore_last: bool = True,
        interval_exp_name: int = 1000,
        out_dir: str | Path | None = None,
        out_suffix: str | list[str] | tuple[str, ...] = (".json", ".log", ".py", "yaml"),
        keep_local: bool = True,
        file_client_args: dict[str, Any] | None = None,
        log_metric_by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        own = "LoggerHook"
        if file_client_args is not None and out_dir is None:
            raise ValueError(f"{own}: file_client_args has no effect without out_dir; give out_dir.")
        refuse_remote(own, file_client_args, backend_args)
        self.interval = whole(own, "interval", interval, least=1)
        self.ignore_last = flag(own, "ignore_last", ignore_last)
        self.interval_exp_name = whole(own, "interval_exp_name", interval_exp_name, least=1)
        self.out_dir = folder(own, "out_dir", out_dir)
        self.out_suffix = _suffixes(own, out_suffix)
        self.keep_local = flag(own, "keep_local", keep_local)
        self.log_metric_by_epoch = flag(own, "log_metric_by_epoch", log_metric_by_epoch)
        self._epoch_end = 0
        self._failing = False
        self._epoch = 0  # the one under way, kept because `runner.epoch` has gone on when `after_train` asks
        self._silent: int | None = None  # the batch of a step that was not logged
        self._unsent: deque[tuple[dict[str, Any], int]] = deque(maxlen=10_000)

    def before_train(self, runner: _Runner) -> None:
        """Find out at which batches an epoch ends."""
        known = getattr(getattr(runner, "train_loop", None), "epoch_length", None)  # a loader knows nothing of ranks
        length = known or length_of(runner.train_dataloader) or 0 if runner.max_epochs > 1 else 0
        self._silent = None
        self._epoch_end = length if not self.ignore_last or length <= self.interval else 0
        self.before_train_epoch(runner)

    def before_train_epoch(self, runner: _Runner) -> None:
        """Remember which epoch is under way: from 1, or 0 in iteration loops."""
        self._epoch = runner.epoch + 1 if runner.max_epochs > 1 else runner.epoch

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Log when it is due."""
        done, step = batch_idx + 1, runner.iter + 1
        self._silent = batch_idx
        if done % self.interval and done != self._epoch_end and step != runner.max_iters:
            return
        if step % self.interval_exp_name == 0:
            runner.logger.info("Exp name: %s", runner.message_hub.get_info("experiment_name"))
        self._log_step(runner, batch_idx, step)

    def after_train(self, runner: _Runner) -> None:
        """Log the steps since the last log point, after an early stop."""
        if self._silent is not None:
            self._log_step(runner, self._silent, runner.iter)

    def _log_step(self, runner: _Runner, batch_idx: int, step: int) -> None:
        self._silent = None
        tags, text = runner.log_record("train", batch_idx)
        runner.logger.info(text)
        self._send(runner, _row(runner.visualizer, tags, "train", step, self._epoch), step)

    def after_val_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Log a line of progress."""
        if (batch_idx + 1) % self.interval == 0:
            runner.logger.info(runner.log_record("val", batch_idx)[1])

    def after_test_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Log a line of progress."""
        if (batch_idx + 1) % self.interval == 0:
            runner.logger.info(runner.log_record("test", batch_idx)[1])

    def after_val_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Log the metrics, as text and as a record."""
        tags, text = runner.log_record("val", _last_batch(runner.val_dataloader), finished=True)
        runner.logger.info(text)
        by_epoch = self.log_metric_by_epoch and runner.epoch > 0
        step = runner.epoch if by_epoch else runner.iter
        self._send(runner, _row(runner.visualizer, tags, "val", runner.iter, runner.epoch), step)

    def after_test_epoch(self, runner: _Runner, metrics: dict[str, Any] | None = None) -> None:
        """Log the metrics, as text and as one JSON file."""
        tags, text = runner.log_record("test", _last_batch(runner.test_dataloader), finished=True)
        runner.logger.info(text)
        if rank() == 0:
            record = _complete(tags, "test", runner.iter, runner.epoch)
            path = Path(runner.log_dir) / _json_name(runner)
            self._guard(runner.logger, lambda: write_whole(path, json.dumps(to_json(record)).encode()))

    def after_run(self, runner: _Runner) -> None:
        """Send what is left, close the backends, copy the logs."""
        if not self._flush(runner):
            runner.logger.warning("LoggerHook: the backend still fails; %d records are missing.", len(self._unsent))
        if runner.visualizer is not None:
            self._guard(runner.logger, runner.visualizer.close)
        if self.out_dir is not None and rank() == 0:
            target = beside(self.out_dir, Path(runner.work_dir))
            self._guard(runner.logger, lambda: self._copy_logs(Path(runner.log_dir), target, runner.logger))

    def _send(self, runner: _Runner, record: dict[str, Any], step: int) -> None:
        if runner.visualizer is None or replaying() or rank() != 0:
            return
        self._unsent.append((record, step))
        if not self._flush(runner):
            self._keep(runner, record, step)

    def _flush(self, runner: _Runner) -> bool:
        """Send the records in order; at the first failure leave the rest for the next time. Tell whether all went."""
        name = _json_name(runner)
        while self._unsent:
            record, step = self._unsent[0]
            try:
                runner.visualizer.add_scalars(record, step=step, file_path=name)
            except Exception as error:
                self._report(runner, error)
                return False
            self._unsent.popleft()
        self._failing = False
        return True

    def _report(self, runner: _Runner, error: Exception) -> None:
        """Say once that a backend fails."""
        if not self._failing:
            self._failing = True
            runner.logger.warning(
                "LoggerHook: a backend failed (%s: %s). Training goes on; the records are kept (in unsent.json too, "
                "if it can be written), and sent again at the next log point.",
                type(error).__name__,
                error,
            )

    def _keep(self, runner: _Runner, record: dict[str, Any], step: int) -> None:
        """Write the record as a JSON line, where the disk takes it."""
        with contextlib.suppress(OSError):
            append_line(Path(runner.log_dir) / "unsent.json", json.dumps(to_json({**record, "step": step})))

    def _guard(self, logger: logging.Logger, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            logger.warning("LoggerHook: %s: %s. The run is not affected.", type(error).__name__, error)

    def _copy_logs(self, log_dir: Path, target: Path, logger: logging.Logger) -> None:
        files = [path for path in sorted(log_dir.rglob("*")) if path.is_file() and path.name.endswith(self.out_suffix)]
        for number, path in enumerate(files):
            try:
                with open(path, "rb") as log:
                    write_whole(target / path.relative_to(log_dir.parent), partial(shutil.copyfileobj, log))
            except OSError as error:
                text = "LoggerHook: %d of %d log files are copied to %s (%s); all of them stay in %s."
                logger.error(text, number, len(files), target, error, log_dir)
                return
        logger.info("%d log files are copied to %s.", len(files), target)
        if not self.keep_local:
            _close_files(logger, files)
            for path in files:
                path.unlink(missing_ok=True)


def _row(visualizer: object, tags: dict[str, Any], mode: str, step: int, epoch: int) -> dict[str, Any]:
    """Return what a visualizer gets: one that derives from MMEngine's gets what MMEngine would give it."""
    packages = {base.__module__.partition(".")[0] for base in type(visualizer).__mro__}
    return dict(tags) if "mmengine" in packages else _complete(tags, mode, step, epoch)


def _complete(tags: Mapping[str, Any], mode: str, iteration: int, epoch: int) -> dict[str, Any]:
    """Return a record with its place: iteration, epoch and mode."""
    record = dict(tags)
    record.setdefault("epoch", epoch)
    record.setdefault("iter", iteration)
    record.setdefault("mode", mode)
    return record


def _json_name(runner: _Runner) -> str:
    return f"{Path(runner.log_dir).name}.json"


def _last_batch(loader: object) -> int:
    return (length_of(loader) or 1) - 1


def _suffixes(owner: str, value: object) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise TypeError(f"{owner}: out_suffix={value!r}: give the ending of a file name, or a list of endings.")
    return tuple(found)


def _close_files(logger: logging.Logger, files: list[Path]) -> None:
    resolved = {path.resolve() for path in files}
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).resolve() in resolved:
            handler.close()
            logger.removeHandler(handler)
