"""A small run with everything that could make a resumed run differ, run in child processes that may be killed."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import warnings
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo  # the optimizer would import it in every child
import torch.utils.serialization  # a child that is no longer root may not read it
from helpers.children import run_as_child
from seg_hooks import (
    CheckpointHook,
    EarlyStoppingHook,
    EMAHook,
    IterTimerHook,
    LoggerHook,
    ParamSchedulerHook,
    RuntimeInfoHook,
)
from seg_optim import AmpOptimWrapper, LinearLR, OptimWrapper, PolyLR
from seg_runner import DefaultSampler, InfiniteSampler, IoUMetric, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

POINTERS = ("last_ckpt", "keep_ckpt_ids", "best_score", "best_ckpt")
"""Told to the hub once a file is whole, so later when it is saved beside training; the hook's own state is compared."""
TIMES = ("time", "data_time", "eta", "memory")


class Crops(Dataset[Any]):
    """Images cut and changed with python's, numpy's, torch's and its own random numbers."""

    metainfo = {"classes": ("a", "b", "c")}

    def __init__(self, size: int = 22, own: bool = True) -> None:
        generator = torch.Generator().manual_seed(1)
        self.labels = torch.randint(0, 3, (size, 10, 10), generator=generator)
        self.own = np.random.default_rng(3) if own else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        top, left = random.randrange(3), int(np.random.randint(3))
        label = self.labels[index, top : top + 8, left : left + 8]
        image = (
            label.float().expand(3, 8, 8)
            + 0.3 * torch.randn(3, 8, 8)
            + 0.1 * (float(self.own.normal()) if self.own else 0.0)
        )
        return (image.flip(-1), label.flip(-1)) if random.random() < 0.5 else (image, label)


class KillAt:
    """Kills the process in the step with this number, before or after it counted."""

    priority = 100

    def __init__(self, iteration: int, point: str = "after_train_iter") -> None:
        self.iteration = iteration
        setattr(self, point, self._kill)

    def _kill(self, runner: Any) -> None:
        if runner.iter >= self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


def network() -> nn.Module:
    """Convolution, batch norm, dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 3, 1)
    )


def make_runner(work_dir: Path, **plan: Any) -> Runner:
    """A run of `total` steps; `plan` says how.

    Keys: total, workers, persistent, sampler (None, 'default', 'infinite'), epochs (an epoch loop), accumulate, amp,
    interval (of checkpoints), kill (a KillAt), async_save, and what Runner takes.
    """
    torch.set_num_threads(1)
    total, workers = plan.pop("total", 20), plan.pop("workers", 0)
    net, data = network(), Crops()
    sampler = {"default": DefaultSampler, "infinite": InfiniteSampler}.get(plan.pop("sampler", None))
    order = {"sampler": sampler(data, seed=4)} if sampler else {"shuffle": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # four workers on two cores
        loader = DataLoader(
            data, 4, num_workers=workers, persistent_workers=plan.pop("persistent", False) and workers > 0, **order
        )
    epochs = plan.pop("epochs", False)
    wrapper = _wrapper(net, plan.pop("accumulate", 1), plan.pop("amp", None))
    count = {"max_epochs": total // 6, "val_interval": 1} if epochs else {"max_iters": total, "val_interval": 5}
    fixed = {"checkpoint": {"async_save": plan.pop("async_save", False)}, "randomness": {"seed": 4}}
    fixed |= {"resume": True, "skip_checks": True}
    hooks = _hooks(plan.pop("interval", 7), epochs) + [h for h in [plan.pop("kill", None)] if h]
    return Runner(
        model=net,
        loss=nn.CrossEntropyLoss(),
        work_dir=work_dir,
        train_dataloader=plan.pop("train_dataloader", loader),
        train_cfg=plan.pop("train_cfg", count),
        optim_wrapper=wrapper,
        param_scheduler=[
            LinearLR(wrapper, start_factor=0.1, begin=0, end=8, by_epoch=False),
            PolyLR(wrapper, begin=8, end=40, by_epoch=False),
        ],
        **_validation(plan),
        hooks=hooks,
        **{**fixed, **plan},
    )


def _validation(plan: dict[str, Any]) -> dict[str, Any]:
    """Loader and metric of validation: none where the plan says `val_dataloader=None`."""
    loader = plan.pop("val_dataloader", False)
    if loader is None:
        return {}
    return {
        "val_dataloader": loader or DataLoader(Crops(6, own=False), 3),
        "val_evaluator": IoUMetric(num_classes=3),
    }


def _wrapper(net: nn.Module, accumulate: int, amp: str | None) -> Any:
    kind: Any = AmpOptimWrapper if amp else OptimWrapper
    options: dict[str, Any] = {"accumulative_counts": accumulate, "clip_grad": {"max_norm": 1.0}}
    if amp:
        options["dtype"] = amp
    if amp == "float16":  # overflows at first, so that a run that forgot its scale would leave out steps again
        options["loss_scale"] = {"init_scale": 2.0**24, "growth_interval": 4}
    return kind(optimizer=torch.optim.AdamW(net.parameters(), 1e-2), **options)


def _hooks(interval: int, epochs: bool) -> list[Any]:
    return [
        RuntimeInfoHook(),
        IterTimerHook(),
        LoggerHook(interval=2, log_metric_by_epoch=epochs),
        ParamSchedulerHook(),
        CheckpointHook(interval=interval, by_epoch=False, max_keep_ckpts=3, save_best="mIoU"),
        EMAHook(begin_iter=3, momentum=0.1),
        EarlyStoppingHook(monitor="mIoU", patience=100),
    ]


def train(work_dir: Path, **plan: Any) -> None:
    """Run to the end."""
    make_runner(work_dir, **plan).train()


class Child:
    """A process that runs a function, with its output in a log beside the folder of the run: `cut.log` for `cut`.

    It comes from a server that has imported this module and nothing else. A fork of the tests' own process would
    have copies of all that is held in there, without the threads that would let it go: locks, gloo, writers.
    """

    _server = multiprocessing.get_context("forkserver")

    def __init__(self, function: Callable[..., Any], work_dir: Path, *args: Any, **kwargs: Any) -> None:
        self.log = Path(work_dir).with_suffix(".log")
        _start_server()
        self._process = self._server.Process(target=_run_in_child, args=(function, self.log, work_dir, *args, kwargs))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number, which is its group's too."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, -9 where it was killed; None while it runs."""
        return self._process.exitcode

    def wait(self, end_workers: bool = True) -> int:
        """The exit code at its end; what it started is ended too."""
        self._process.join()
        if end_workers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        assert self.code is not None
        return self.code


def _start_server() -> None:
    """Start the server, where none runs yet; it finds this module by PYTHONPATH, as it does not go by `sys.path`."""
    forkserver.set_forkserver_preload(["helpers.drill", "pytest"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        forkserver.ensure_running()


def in_child(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Run a function in a child process to its end; returns the exit code."""
    return Child(function, *args, **kwargs).wait()


def _run_in_child(function: Callable[..., Any], log: Path, *given: Any) -> None:
    *args, kwargs = given
    run_as_child(log, lambda: function(*args, **kwargs))


# ---------------------------------------------------------------------------------------------------- comparing


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Paths at which two trees of tensors and plain values differ, bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) and one.dtype == other.dtype else [path]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [d for key in keys for d in differences(one.get(key), other.get(key), f"{path}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{path}[{i}]")]
    return [] if one == other or (one != one and other != other) else [f"{path}: {one!r} / {other!r}"]


def checkpoint_differences(one: Path, other: Path) -> list[str]:
    """How two final checkpoints differ, times and names of sessions aside."""
    trees = [torch.load(path, weights_only=True) for path in (one, other)]
    for tree in trees:
        for key in ("time", "experiment_name", "run_id", "cfg"):
            tree["meta"].pop(key, None)
        hub = tree["message_hub"]
        for part in [key for key in hub if key.startswith("log_")]:
            hub[part] = {key: value for key, value in hub[part].items() if key.split("/")[-1] not in TIMES}
        hub["runtime_info"] = {
            k: v
            for k, v in hub["runtime_info"].items()
            if k not in ("eta", "cfg", "experiment_name", "pause", *POINTERS)
        }
        hub.pop("resumed_keys", None)
        tree.pop("visualizer", None)
        tree["hooks"]["CheckpointHook"].pop("kept", None)  # files: told later when saved beside training
    return differences(*trees)


def log_lines(work_dir: Path) -> list[dict[str, Any]]:
    """All scalar records of a run, of every session, times aside; a step logged by two sessions counts once."""
    records: dict[str, dict[str, Any]] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            record = {key: value for key, value in json.loads(line).items() if key not in TIMES}
            records[f"{record.get('step')} {'mIoU' in record}"] = record
    return sorted(records.values(), key=lambda record: (record.get("step", 0), "mIoU" in record))
