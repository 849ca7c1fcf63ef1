"""The process and the machine: what `env_cfg` sets, and what the log says about both."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import torch

from seg_runner.checks import flag, whole
from seg_runner.errors import did_you_mean
from seg_runner.process.device import device_facts
from seg_runner.process.threads import MOST_THREADS

__all__ = ["OPENCV_THREADS", "describe_environment", "nondeterministic_operations", "set_up_process"]

OPENCV_THREADS = "OPENCV_FOR_THREADS_NUM"
"""The environment variable where OpenCV looks for the number of its threads, when it is imported."""

_WORKERS = ("mp_start_method", "opencv_num_threads", "torch_num_threads")
_KEYS = ("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")


def set_up_process(env_cfg: Mapping[str, Any] | None) -> None:
    """Apply `env_cfg`: cuDNN's benchmark mode, the start method of workers, OpenCV's threads, open files.

    Raises:
        ValueError: a key, or a start method, that is not known.
    """
    cfg = dict(env_cfg or {})
    for key in cfg:
        if key not in _KEYS and key != "type":
            raise ValueError(f"env_cfg has no key {key!r}.{did_you_mean(key, _KEYS)} Known: {', '.join(_KEYS)}")
    for key in ("mp_cfg", "dist_cfg"):
        if not isinstance(cfg.get(key), Mapping | None):
            raise TypeError(f"env_cfg.{key} must be a dict, not {cfg[key]!r}")
    if "cudnn_benchmark" in cfg:
        torch.backends.cudnn.benchmark = flag(cfg["cudnn_benchmark"], "env_cfg.cudnn_benchmark")
    _set_workers(dict(cfg.get("mp_cfg") or {}))
    _raise_file_limit(whole(cfg.get("resource_limit", 4096), "env_cfg.resource_limit"))


def _set_workers(cfg: dict[str, Any]) -> None:
    for key in cfg:
        if key not in _WORKERS:
            raise ValueError(
                f"env_cfg.mp_cfg has no key {key!r}.{did_you_mean(key, _WORKERS)} Known: {', '.join(_WORKERS)}"
            )
    threads = whole(cfg.get("opencv_num_threads", 0), "env_cfg.mp_cfg.opencv_num_threads", None)
    whole(cfg.get("torch_num_threads", 1), "env_cfg.mp_cfg.torch_num_threads", 1, MOST_THREADS)  # set later
    method = cfg.get("mp_start_method")
    if method is not None and os.name != "nt":
        import torch.multiprocessing as multiprocessing

        known = multiprocessing.get_all_start_methods()
        if method not in known:
            raise ValueError(
                f"env_cfg.mp_cfg.mp_start_method must be one of {', '.join(known)}, not {method!r}."
                f"{did_you_mean(str(method), known)}"
            )
        if multiprocessing.get_start_method(allow_none=True) != method:
            multiprocessing.set_start_method(method, force=True)
    if "opencv_num_threads" in cfg and threads >= 0:  # below 0, OpenCV chooses
        os.environ[OPENCV_THREADS] = str(max(threads, 1))  # for workers that are not forked, or import OpenCV later
    if "opencv_num_threads" in cfg and (opencv := sys.modules.get("cv2")) is not None:
        opencv.setNumThreads(threads)


def _raise_file_limit(wanted: int) -> None:
    """Let this process open at least `wanted` files, as far as the system allows."""
    try:
        import resource
    except ImportError:  # not on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def describe_environment(device: torch.device, seed: int | None, threads: str) -> dict[str, str]:
    """Return versions and hardware, as the first lines of a log show them; `threads` is what `set_threads` said."""
    facts = {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "device": str(device),
        "seed": str(seed),
        "threads": threads,
    }
    return facts | device_facts(device)


NO_DETERMINISTIC_FORM = "does not have a deterministic implementation"


@contextmanager
def nondeterministic_operations() -> Iterator[list[str]]:
    """Collect, within this context, the names of operations that torch warns of as not deterministic."""
    found: list[str] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=f".*{NO_DETERMINISTIC_FORM}")
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            text = str(message)
            if NO_DETERMINISTIC_FORM not in text:
                others(message, category, filename, lineno, file, line)
            elif (name := text.split(NO_DETERMINISTIC_FORM)[0].strip()) not in found:
                found.append(name)

        warnings.showwarning = show
        yield found
