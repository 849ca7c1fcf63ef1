"""What is kept of a step that was not finite, and the command that replays it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seg_hooks.files import write_whole
from seg_hooks.hooks.nan_replay import BEFORE, REPLAY
from seg_hooks.plain_values import plain

__all__ = ["command", "keep", "loss_is_finite", "optimizers_of", "sample_names", "write"]

NAMES = ("img_path", "path", "file", "file_name", "filename", "id", "sample_idx", "image_id", "index", "seg_map_path")


def write(folder: Path, index: int, facts: Mapping[str, Any], wrapper: object, replay: str, keep_batch: bool) -> str:
    """Write `bundle.pt` and `report.json`; what to tell the user. A disk that fails is told too."""
    report = {
        "iter": index,
        "values": {name: plain(_number(value)) for name, value in (facts["outputs"] or {}).items()},
        "not_finite": [name for name, value in (facts["outputs"] or {}).items() if not _is_finite(value)],
        "grad_norm": plain(_number(facts["grad_norm"])),
        "lr": [group["lr"] for optimizer in optimizers_of(wrapper) for group in optimizer.param_groups],
        "samples": list(dict.fromkeys(sample_names(facts["batch"]))),
        "scaler": plain(scaler.state_dict()) if (scaler := getattr(wrapper, "loss_scaler", None)) else None,
        "replay": f"{REPLAY}={shlex.quote(str((folder / 'bundle.pt').resolve()))} {replay}",
    }
    bundle: dict[str, Any] = {**report, "random": facts["random"]}
    if keep_batch:
        bundle["batch"] = _tensors(facts["batch"])
    lost = _try(lambda: write_whole(folder / "report.json", json.dumps(report, indent=1).encode()))
    missing = _try(lambda: write_whole(folder / "bundle.pt", lambda file: torch.save(bundle, file)))
    if missing:
        kept = f"It could not be kept, so it cannot be replayed: {missing}"
    else:
        kept = f"Kept in {folder}{f' ({lost})' if lost else ''}; replay with:\n  {report['replay']}"
    what = ", ".join(report["not_finite"]) or f"the gradient (norm {_number(facts['grad_norm'])})"
    samples = f" Samples: {', '.join(report['samples'][:8])}." if report["samples"] else ""
    return f"iteration {index + 1}: {what} is not finite.{samples} {kept}"


def _try(write: Callable[[], None]) -> str:
    """Write a file; what came in the way."""
    try:
        write()
    except OSError as error:
        return str(error)
    return ""


def command(checkpoint: Path | None, seed: int | None) -> str:
    """This process's command line; that of `seg` so that it begins with this checkpoint or, without one, this seed.

    A script of one's own begins where it says itself: TrainState.resume() finds the checkpoint before the step.
    """
    words = [sys.executable, *sys.orig_argv[1:]]
    if not any(Path(word).name == "seg" or word == "seg_engine" for word in words):
        return shlex.join(words)
    if checkpoint is not None:
        return shlex.join([*words, "--resume", str(checkpoint)])  # the last one of a flag counts
    if seed is not None:
        override = f"randomness.seed={seed}"
        place = words.index("--cfg-options") + 1 if "--cfg-options" in words else len(words)
        words[place:place] = [override] if "--cfg-options" in words else ["--cfg-options", override]
    return shlex.join(words)


def keep(checkpoint: Path | None, folder: Path) -> Path | None:
    """Keep a checkpoint beside the bundle, by a second name that costs no space; where that cannot be, it stays alone.

    The run may go on and delete it by its first name.
    """
    kept = folder / BEFORE
    try:
        kept.unlink(missing_ok=True)
        if checkpoint is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        os.link(checkpoint, kept)
    except OSError:
        return checkpoint
    return kept


def loss_is_finite(outputs: Mapping[str, Any] | None) -> bool:
    """Whether every value that the step gave is finite."""
    return all(map(_is_finite, (outputs or {}).values()))


def optimizers_of(wrapper: object) -> list[torch.optim.Optimizer]:
    """List the torch optimizers behind an optimizer wrapper, a dict of wrappers, or an optimizer."""
    if wrapper is None:
        return []
    if isinstance(wrapper, torch.optim.Optimizer):
        return [wrapper]
    values = getattr(wrapper, "values", None)
    if callable(values):
        return [one for part in values() for one in optimizers_of(part)]
    return optimizers_of(getattr(wrapper, "optimizer", None))


def sample_names(batch: object, depth: int = 4) -> Iterator[str]:
    """Paths and ids of the samples in a batch, found by usual names in dicts and in `metainfo`."""
    if depth == 0 or batch is None or isinstance(batch, Tensor | str):
        return
    metainfo = getattr(batch, "metainfo", None)
    if isinstance(metainfo, Mapping):
        yield from sample_names(metainfo, 2)
    elif isinstance(batch, Mapping):
        for name in NAMES:
            yield from _texts(batch.get(name))
        for value in batch.values():
            yield from sample_names(value, depth - 1)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from sample_names(value, depth - 1)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | int | Path):
        yield str(value)
    elif isinstance(value, Tensor) and not value.is_floating_point() and value.dim() < 2:
        yield from map(str, value.reshape(-1).tolist())
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _number(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().float().tolist()
    return value if value is None or isinstance(value, int | float) else str(value)


def _is_finite(value: object) -> bool:
    if not isinstance(value, Tensor | int | float):
        return True
    return bool(torch.isfinite(torch.as_tensor(value)).all())


def _tensors(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {str(name): _tensors(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_tensors(one) for one in value]
    return value if isinstance(value, int | float | str) or value is None else str(value)
