"""ProfilerHook: torch.profiler over the first epochs or iterations of a session."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from seg_hooks.checks import flag, folder, one_of, refuse_unknown, whole
from seg_hooks.files import write_whole
from seg_hooks.hook import Hook
from seg_hooks.processes.world import rank
from seg_hooks.protocols import Logs, Progress

if TYPE_CHECKING:  # a profiler is imported when one is wanted
    from torch.profiler import profile

__all__ = ["ProfilerHook"]

FLAGS = ("record_shapes", "profile_memory", "with_stack", "with_flops")
SCHEDULE = {"wait": 0, "warmup": 0, "active": 1, "repeat": 0, "skip_first": 0}
DEVICES = ("cpu", "cuda", "device")
SORT = [
    "count",
    *(f"{device}_time" for device in DEVICES),
    *(f"{own}{on}_{what}" for own in ("", "self_") for on in DEVICES for what in ("time_total", "memory_usage")),
]
TABLE = ["sort_by", "row_limit", "max_src_column_width", "max_name_column_width", "max_shapes_column_width", "header"]


class _Runner(Progress, Logs, Protocol):
    pass


class ProfilerHook(Hook[_Runner]):
    """Profiles the first `profile_times` epochs or iterations of a session.

    Args:
        by_epoch: Count epochs (then `profile_times` is 1), else iterations.
        profile_times: How many are profiled.
        activity_with_cpu: Profile the processor.
        activity_with_cuda: Profile the GPU.
        schedule: Options of `torch.profiler.schedule`: `wait`, `warmup`, `active`, `repeat`, `skip_first`.
        on_trace_ready: A function of the profiler; `dict(type='log_trace', sort_by=..., row_limit=...)` logs a table;
            `dict(type='tb_trace', dir_name=...)` writes for TensorBoard, into `<log_dir>/tf_tracing_logs` by default.
        record_shapes: Record the shapes of inputs.
        profile_memory: Record memory.
        with_stack: Record where each operation was called.
        with_flops: Estimate floating-point operations.
        json_trace_path: Write a Chrome trace to this file at the end; other ranks than 0 to `<name>_rank1.json`, ...
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        *,
        by_epoch: bool = True,
        profile_times: int = 1,
        activity_with_cpu: bool = True,
        activity_with_cuda: bool = False,
        schedule: dict[str, int] | None = None,
        on_trace_ready: Callable[..., Any] | dict[str, Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        json_trace_path: str | Path | None = None,
    ) -> None:
        own = "ProfilerHook"
        self.by_epoch = flag(own, "by_epoch", by_epoch)
        self.profile_times = whole(own, "profile_times", profile_times, least=1)
        if self.by_epoch and self.profile_times > 1:
            raise ValueError(
                f"{own}: by_epoch=True profiles one epoch, but profile_times={profile_times}; give by_epoch=False."
            )
        self.activity_with_cpu = flag(own, "activity_with_cpu", activity_with_cpu)
        self.activity_with_cuda = flag(own, "activity_with_cuda", activity_with_cuda)
        if not activity_with_cpu and not activity_with_cuda:
            raise ValueError(
                f"{own}: activity_with_cpu and activity_with_cuda are both False, so there is nothing to profile; give "
                "True for one of them."
            )
        values = (record_shapes, profile_memory, with_stack, with_flops)
        self.flags: dict[str, Any] = {name: flag(own, name, value) for name, value in zip(FLAGS, values, strict=True)}
        self.schedule = _read_schedule(own, schedule)
        self.on_trace_ready = _read_trace(own, on_trace_ready)
        self.json_trace_path = folder(own, "json_trace_path", json_trace_path, "file")
        self.profiler: Any = None
        self._left = 0

    def before_train(self, runner: _Runner) -> None:
        """Start profiling."""
        from torch import profiler

        unit, most = ("epochs", runner.max_epochs) if self.by_epoch else ("iterations", runner.max_iters)
        if most < self.profile_times:
            raise ValueError(f"ProfilerHook: profile_times={self.profile_times}, but the run has only {most} {unit}.")
        activities = []
        if self.activity_with_cpu:
            activities.append(profiler.ProfilerActivity.CPU)
        if self.activity_with_cuda:
            activities.append(profiler.ProfilerActivity.CUDA)
        self._left = self.profile_times
        self.profiler = profiler.profile(
            activities=activities,
            schedule=None if self.schedule is None else profiler.schedule(**self.schedule),
            on_trace_ready=self._handler(runner),
            **self.flags,
        )
        self.profiler.start()

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Tell the profiler, and stop it after enough iterations."""
        if self.profiler is None:
            return
        self.profiler.step()
        if not self.by_epoch:
            self._left -= 1
            if self._left == 0:
                self._finish(runner)

    def after_train_epoch(self, runner: _Runner) -> None:
        """Stop the profiler."""
        self._finish(runner)

    def after_run(self, runner: _Runner) -> None:
        """Stop the profiler, should an exception have kept it going."""
        self._finish(runner)

    def on_exception(self, runner: _Runner) -> None:
        """Stop the profiler."""
        self._finish(runner)

    def _finish(self, runner: _Runner) -> None:
        if self.profiler is None:
            return
        profiler, self.profiler = self.profiler, None
        profiler.stop()
        if self.json_trace_path is None:
            return
        path = self.json_trace_path
        name, dot, ending = path.name.partition(".")
        own = f"{name}_rank{rank()}{dot}{ending}" if rank() else path.name
        _export(profiler, path.with_name(own), runner.logger)

    def _handler(self, runner: _Runner) -> Any:
        options = self.on_trace_ready
        if not isinstance(options, Mapping):
            return options
        options = dict(options)
        if options.pop("type") == "log_trace":
            return lambda profile: runner.logger.info("\n%s", profile.key_averages().table(**options))
        folder = Path(options.get("dir_name") or Path(runner.log_dir) / "tf_tracing_logs")
        worker = f"{socket.gethostname()}_{os.getpid()}"  # TensorBoard reads worker and time off the name
        return lambda profile: _export(profile, folder / f"{worker}.{time.time_ns()}.pt.trace.json", runner.logger)


def _export(profiler: profile, path: Path, logger: logging.Logger) -> None:
    """Write a Chrome trace, whole or not at all, and say so; torch's own writer says nothing of a full disk."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, f"trace{''.join(path.suffixes[-1:])}")
            profiler.export_chrome_trace(str(made))
            _check_ending(made)
            with open(made, "rb") as trace:
                write_whole(path, lambda file: shutil.copyfileobj(trace, file))
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        logger.error("ProfilerHook: %s cannot be written: %s", path, error)
    else:
        logger.info("The trace is in %s.", path)


def _check_ending(path: Path) -> None:
    """Refuse a trace that is cut short."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        end = b""
        while piece := file.read(2**20):
            end = (end + piece)[-20:]
    if not end.rstrip().endswith(b"}"):
        raise ValueError(f"the trace is incomplete; is there free space in {tempfile.gettempdir()}?")


def _read_schedule(owner: str, schedule: object) -> dict[str, int] | None:
    if schedule is None:
        return None
    if not isinstance(schedule, Mapping):
        raise TypeError(f"{owner}: schedule={schedule!r} is a {type(schedule).__name__}; give a dict or None.")
    refuse_unknown(f"{owner}: schedule", schedule, list(SCHEDULE))
    missing = [name for name in ("wait", "warmup", "active") if name not in schedule]
    if missing:
        raise ValueError(f"{owner}: schedule={schedule!r} has no {', '.join(missing)}; give a whole number for each.")
    return {name: whole(f"{owner}: schedule", name, value, least=SCHEDULE[name]) for name, value in schedule.items()}


def _read_trace(owner: str, value: object) -> Any:
    if value is None or (callable(value) and not isinstance(value, Mapping)):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{owner}: on_trace_ready={value!r} is a {type(value).__name__}; give a function or a dict.")
    kind = one_of(owner, "on_trace_ready['type']", value.get("type"), ("log_trace", "tb_trace"))
    allowed = TABLE if kind == "log_trace" else ["dir_name"]
    refuse_unknown(f"{owner}: on_trace_ready", value, ["type", *allowed])
    own = f"{owner}: on_trace_ready"
    folder(own, "dir_name", value.get("dir_name"))
    one_of(own, "sort_by", value.get("sort_by"), (None, *SORT))
    for name in ("row_limit", "max_src_column_width", "max_name_column_width", "max_shapes_column_width"):
        if name in value:
            whole(own, name, value[name], least=-1)
    return dict(value)
