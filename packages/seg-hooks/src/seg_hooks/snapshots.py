"""What TrainState writes and reads: one dict of tensors and plain values, whole files, the newest of them."""

from __future__ import annotations

import random
import re
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from seg_hooks.__about__ import __version__
from seg_hooks.files import read_pointer
from seg_hooks.records import uses_cuda
from seg_hooks.weights import load_weights, weights_of

__all__ = ["gather", "hook_names", "load_random", "newest_whole", "read_whole", "restore"]


def gather(state: Any, finished: int, *, optimizer: bool, schedulers: bool) -> dict[str, Any]:
    """The checkpoint of a TrainState after `finished` iterations, in MMEngine's layout with keys of our own."""
    checkpoint: dict[str, Any] = {
        "meta": {
            "epoch": 0,
            "iter": finished,
            "experiment_name": state.experiment_name,
            "seed": None,
            "time": time.strftime("%Y%m%d_%H%M%S", time.localtime()),
            "seg_hooks_version": __version__,
        },
        "state_dict": weights_of(state.model),
        "message_hub": state.message_hub.state_dict(),
        "hooks": {name: hook.state_dict() for name, hook in hook_names(state.hooks) if hasattr(hook, "state_dict")},
        "extra": {name: part.state_dict() for name, part in state.extra.items()},
        "random": _random_state(),
    }
    if optimizer:
        checkpoint["optimizer"] = state.optimizer.state_dict()
    if schedulers and state.param_schedulers:
        checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in state.param_schedulers]
    return checkpoint


def restore(state: Any, checkpoint: Mapping[str, Any]) -> list[str]:
    """Put a checkpoint back into a TrainState, random numbers last; what the file did not hold."""
    load_weights(state.model, checkpoint["state_dict"])
    missing = []
    if "optimizer" in checkpoint:
        state.optimizer.load_state_dict(checkpoint["optimizer"])
    else:
        missing.append("optimizer")
    saved = checkpoint.get("param_schedulers", [])
    if len(saved) != len(state.param_schedulers):
        missing.append(f"schedulers (the file holds {len(saved)}, the run has {len(state.param_schedulers)})")
    else:
        for scheduler, values in zip(state.param_schedulers, saved, strict=True):
            scheduler.load_state_dict(values)
    state.message_hub.load_state_dict(checkpoint["message_hub"])
    missing += _load_named("hook", hook_names(state.hooks), checkpoint.get("hooks", {}))
    missing += _load_named("extra", state.extra.items(), checkpoint.get("extra", {}))
    load_random(checkpoint.get("random", {}))
    return missing


def _load_named(kind: str, parts: Iterable[tuple[str, Any]], saved: Mapping[str, Any]) -> list[str]:
    missing = []
    for name, part in parts:
        if not hasattr(part, "load_state_dict"):
            continue
        if name in saved:
            part.load_state_dict(saved[name])
        else:
            missing.append(f"{kind} {name}")
    return missing


def hook_names(hooks: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Each hook under the name of its class; from the second of a class on with its number: `EMAHook#2`."""
    seen: dict[str, int] = {}
    for hook in hooks:
        name = type(hook).__name__
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), hook


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if uses_cuda() else []
    return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda}


def load_random(saved: Mapping[str, Any]) -> None:
    """Put the random numbers of python and torch back."""
    if "python" in saved:
        version, values, gauss = saved["python"]
        random.setstate((version, tuple(values), gauss))
    if "torch" in saved:
        torch.set_rng_state(saved["torch"])
    if saved.get("cuda") and torch.cuda.is_available() and len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved["cuda"])


def read_whole(path: Path) -> dict[str, Any]:
    """A checkpoint whose every byte was checked; ValueError where it is cut short or changed, or is no checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"the part {broken} is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler and the zip reader fail in many ways
        raise ValueError(f"{path} is not a whole checkpoint: {error}") from error
    if not isinstance(checkpoint, dict) or not {"meta", "state_dict", "message_hub"} <= set(checkpoint):
        raise ValueError(f"{path} holds no meta, state_dict and message_hub; it is no checkpoint to resume from.")
    return checkpoint


def newest_whole(work_dir: Path, logger: Any) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole; one that is not is reported and the next older one is taken."""
    for path in _candidates(work_dir):
        try:
            return path, read_whole(path)
        except ValueError as error:
            logger.warning("%s The next older one is tried.", error)
    return None


def _candidates(work_dir: Path) -> list[Path]:
    """Newest first: what is newer than the pointed one, the pointed one, the others."""
    pointer = work_dir / "last_checkpoint"
    pointed = read_pointer(work_dir, pointer.read_text()) if pointer.exists() else None
    if pointed is not None and not pointed.exists():
        pointed = None
    folder = work_dir if pointed is None else pointed.parent
    files = sorted((path for path in folder.glob("*.pth") if _is_regular(path)), key=_count, reverse=True)
    if pointed is None:
        return files
    moment = pointed.stat().st_mtime
    newer = [path for path in files if _count(path) > _count(pointed) and path.stat().st_mtime >= moment]
    return list(dict.fromkeys([*newer, pointed, *(path for path in files if _count(path) < _count(pointed))]))


def _is_regular(path: Path) -> bool:
    name = path.name
    return not name.startswith(("best_", "interrupted", ".")) and not re.search(r"-[0-9a-f]{8}\.pth$", name)


def _count(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1
