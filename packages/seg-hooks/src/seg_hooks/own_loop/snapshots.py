"""What TrainState writes and reads: one dict of tensors and plain values, whole files, the newest of them."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from seg_hooks.__about__ import __version__
from seg_hooks.files import interrupted_at, interrupted_in, pointed_at
from seg_hooks.model.finite import is_marked
from seg_hooks.model.weights import load_weights, weights_of
from seg_hooks.randomness import load_random, random_state
from seg_hooks.read_checkpoint import check_sizes, load_bounded

__all__ = [
    "candidates",
    "checked_state",
    "gather",
    "hook_names",
    "newest_whole",
    "read_whole",
    "refuse_spoilt",
    "restore",
    "tell_broken_off",
]


MOST_ITERS = 10**12
"""No run has so many iterations; a file that says so is damaged, or made up."""


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
        "hooks": _states(hook_names(state.hooks), state.logger),
        "extra": _states(state.extra.items(), state.logger),
        "data": state.passes.state_dict(),
        "random": random_state(),
    }
    if optimizer:
        checkpoint["optimizer"] = state.optimizer.state_dict()
    if schedulers and state.param_schedulers:
        checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in state.param_schedulers]
    whole: dict[str, Any] = in_main_memory(checkpoint, {})
    return whole


def in_main_memory(value: Any, moved: dict[Any, torch.Tensor]) -> Any:
    """The same tree with every tensor on the CPU, so that the file loads anywhere; views of one memory move once."""
    if isinstance(value, torch.Tensor):
        if value.device.type == "cpu":
            return value
        key = (value.untyped_storage()._cdata, value.storage_offset(), value.shape, value.stride())
        if key not in moved:
            moved[key] = value.cpu()
        return moved[key]
    if isinstance(value, dict):
        return {name: in_main_memory(each, moved) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(in_main_memory(each, moved) for each in value)
    return value


def _states(parts: Iterable[tuple[str, Any]], logger: Any) -> dict[str, Any]:
    """The state of each part that has one; one that cannot be saved is reported and costs no checkpoint."""
    states = {}
    for name, part in parts:
        if hasattr(part, "state_dict"):
            try:
                states[name] = checked_state(name, part)
            except TypeError as error:
                logger.error("%s The checkpoint goes without it.", error)
    return states


def checked_state(name: str, part: Any) -> dict[str, Any]:
    """A part's state; TypeError where it holds what a file that is safe to load cannot."""
    state: dict[str, Any] = part.state_dict()
    strange = _strange(state)
    if strange is not None:
        raise TypeError(
            f"TrainState: state_dict() of {name} holds {strange}; numbers, text, tensors, and lists and dicts of these "
            "can be saved."
        )
    return state


def _strange(value: Any) -> str | None:
    """What in a state cannot be loaded with `weights_only=True`, in words."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set):
        return next((found for one in value if (found := _strange(one)) is not None), None)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.Tensor):
        return None if type(value).__module__ != "numpy" else f"a numpy.{type(value).__name__} (take float(...) of it)"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def restore(state: Any, checkpoint: Mapping[str, Any], data: bool = True) -> list[str]:
    """Put a checkpoint back into a TrainState, random numbers last; what the file did not hold."""
    load_weights(state.model, checkpoint["state_dict"])
    missing = []
    if "optimizer" in checkpoint:
        _load_optimizer(state.optimizer, checkpoint["optimizer"])
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
    if data and "data" in checkpoint:
        state.passes.load_state_dict(checkpoint["data"])
    elif data:
        missing.append("place in the data")
    load_random(checkpoint.get("random", {}))
    return missing


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Load the state of an optimizer; ValueError where it is that of another kind."""
    for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=False):
        lacking = [name for name in optimizer.defaults if name in own and name not in group]
        if lacking:
            raise ValueError(
                f"the checkpoint's optimizer has no {', '.join(lacking)}; is it another kind than the "
                f"{type(optimizer).__name__} of this run?"
            )
    optimizer.load_state_dict(dict(saved))


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


def read_whole(path: Path) -> dict[str, Any]:
    """A checkpoint whose every byte was checked; ValueError where it is cut short or changed, or is no checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive, path.stat().st_size)
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"the part {broken} is damaged")
        checkpoint = load_bounded(path)
    except Exception as error:  # damaged bytes make the unpickler and the zip reader fail in many ways
        raise ValueError(f"{path} is not a whole checkpoint: {error}") from error
    if not isinstance(checkpoint, dict) or not {"meta", "state_dict", "message_hub"} <= set(checkpoint):
        raise ValueError(f"{path} holds no meta, state_dict and message_hub; it is no checkpoint to resume from.")
    finished = checkpoint["meta"].get("iter") if isinstance(checkpoint["meta"], dict) else None
    if type(finished) is not int or not 0 <= finished <= MOST_ITERS:
        raise ValueError(
            f"{path} does not say after how many iterations it was saved (meta.iter: {finished!r:.40}); it cannot be "
            "resumed from."
        )
    return checkpoint


def newest_whole(work_dir: Path, logger: Any, most: int | None = None) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole; one that is not is reported and the next older one is taken.

    What an exception left (`interrupted_iter_N.pth`) is taken only where there is no other. One whose weights are not
    finite is taken only where there is not even that, neither a best one to go on from.

    Args:
        work_dir: Where to look.
        logger: Gets the reports.
        most: Take none of more iterations.
    """
    spoilt = None
    for path in candidates(work_dir):
        try:
            checkpoint = read_whole(path)
        except ValueError as error:
            logger.warning("%s The next older one is tried.", error)
            continue
        if most is not None and checkpoint["meta"]["iter"] > most:
            continue
        if not is_marked(checkpoint):
            return path, checkpoint
        logger.warning("%s holds weights that are not finite. Another one is looked for.", path)
        spoilt = spoilt or path
    if spoilt is None:
        return _newest_broken_off(work_dir, most)
    return _newest_best(spoilt.parent, most) or _newest_broken_off(work_dir, most) or (spoilt, read_whole(spoilt))


def _newest_broken_off(folder: Path, most: int | None) -> tuple[Path, dict[str, Any]] | None:
    """What an exception left after the most iterations, whole and finite."""
    for path in reversed(interrupted_in(folder, MOST_ITERS)):
        try:
            checkpoint = read_whole(path)
        except ValueError:
            continue
        if (most is None or checkpoint["meta"]["iter"] <= most) and not is_marked(checkpoint):
            return path, checkpoint
    return None


def tell_broken_off(work_dir: Path, done: int, logger: Any) -> None:
    """A warning for each newer file that an exception left and a resume from iteration `done` leaves out."""
    for path in interrupted_in(work_dir, MOST_ITERS):
        if interrupted_at(path) > done:
            text = "%s is newer than iteration %d, from which this run goes on: resume(%r) takes it."
            logger.warning(text, path.name, done, str(path))


def refuse_spoilt(work_dir: Path) -> None:
    """Where a resume finds nothing to take: whether something would be lost by beginning anew.

    Raises:
        FileExistsError: an exception left a whole file there, and its weights are not finite.
    """
    for path in reversed(interrupted_in(work_dir, MOST_ITERS)):
        try:
            read_whole(path)
        except ValueError:
            continue
        raise FileExistsError(
            f"TrainState: {path.name} is all that an earlier run has left in {work_dir}, and its weights are not "
            f"finite. To go on from it all the same: resume({str(path)!r}); to begin anew: leave out resume() and give "
            "overwrite=True, or another work_dir."
        )


def _newest_best(folder: Path, most: int | None) -> tuple[Path, dict[str, Any]] | None:
    """The best checkpoint of the most iterations that is whole, finite, and holds an optimizer to go on with."""
    for path in sorted(folder.glob("best_*.pth"), key=_count, reverse=True):
        try:
            checkpoint = read_whole(path)
        except ValueError:
            continue
        late = most is not None and checkpoint["meta"]["iter"] > most
        if not late and "optimizer" in checkpoint and not is_marked(checkpoint):
            return path, checkpoint
    return None


def candidates(work_dir: Path) -> list[Path]:
    """Newest first: what is newer than the pointed one, the pointed one, the others."""
    pointed = _pointed(work_dir)
    folder = work_dir if pointed is None else pointed.parent
    files = sorted((path for path in folder.glob("*.pth") if _is_regular(path)), key=_count, reverse=True)
    if pointed is None:
        return files
    moment = pointed.stat().st_mtime
    newer = [path for path in files if _count(path) > _count(pointed) and path.stat().st_mtime >= moment]
    return list(dict.fromkeys([*newer, pointed, *(path for path in files if _count(path) < _count(pointed))]))


def _pointed(work_dir: Path) -> Path | None:
    """The file that `last_checkpoint` names; None where it names none, whatever it holds."""
    try:
        path = pointed_at(work_dir / "last_checkpoint")
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _is_regular(path: Path) -> bool:
    name = path.name
    return not name.startswith(("best_", "interrupted", ".")) and not re.search(r"-[0-9a-f]{8}\.pth$", name)


def _count(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1
