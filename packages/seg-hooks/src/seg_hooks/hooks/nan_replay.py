"""The evidence of a step that was not finite: what is kept of it, and the run that replays it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seg_hooks.conversions import to_json
from seg_hooks.files import write_whole
from seg_hooks.processes.world import rank, size
from seg_hooks.protocols import HasModel, Logs, Progress
from seg_hooks.read_checkpoint import load_bounded

__all__ = [
    "BEFORE",
    "REPLAY",
    "Replay",
    "keep_checkpoint",
    "kept_checkpoint",
    "last_step",
    "loss_is_finite",
    "optimizers_of",
    "replay_command",
    "replaying",
    "sample_names",
    "write_bundle",
]

REPLAY = "SEG_NAN_REPLAY"
BEFORE = "before.pth"


def replaying() -> bool:
    """Tell whether this process was started to replay a step; then nothing is saved or sent."""
    return bool(os.environ.get(REPLAY))


def last_step() -> int | None:
    """Return the finished iterations before the step that is to be replayed; None where none is."""
    return int(_read()["iter"]) if replaying() else None


def kept_checkpoint() -> Path | None:
    """Return the checkpoint before the step that is to be replayed, where it was kept beside the bundle."""
    if not replaying():
        return None
    path = Path(os.environ[REPLAY]).with_name(BEFORE)
    return path if path.is_file() else None


def _read() -> dict[str, Any]:
    """Read the bundle that the environment names."""
    path = Path(os.environ[REPLAY])
    own = path.parent / f"rank{rank()}" / path.name
    path = own if rank() and own.is_file() else path
    try:
        bundle: dict[str, Any] = load_bounded(path)
    except Exception as error:  # whatever the file is, it is no bundle
        raise ValueError(f"{REPLAY}={str(path)!r} is not a bundle.pt written by NanGuardHook: {error}") from error
    return bundle


class _Runner(Progress, HasModel, Logs, Protocol):
    pass


class Replay:
    """Trains up to the bundle's step, watches it closely, says what was found, and ends the run."""

    def __init__(self, iteration: int) -> None:
        bundle = _read()
        self.index, self.random = int(bundle["iter"]), bundle["random"]["torch"]
        if iteration > self.index:
            raise ValueError(
                f"{REPLAY}: the step to replay is {self.index + 1}, but this run begins with step {iteration + 1}; "
                "start it from an earlier checkpoint."
            )
        self.first: str | None = None
        self.same = False
        self._handles: list[Any] = []

    def before_step(self, runner: _Runner) -> None:
        """Watch every module at the bundle's step, and let autograd name the operation."""
        if runner.iter != self.index:
            return
        self.same = torch.equal(torch.get_rng_state(), self.random)
        runner.logger.info("Replaying iteration %d.", self.index + 1)
        torch.autograd.set_detect_anomaly(True)
        for name, module in runner.model.named_modules():
            self._handles.append(module.register_forward_hook(self._watcher(name or "the model itself")))

    def after_step(self, runner: _Runner) -> None:
        """Say what was found, and end."""
        if runner.iter != self.index:
            return
        self.release()
        found = self.first or "none: the forward pass was finite, so look at the loss and the gradient"
        doubt = (
            "The random numbers at its start are those of the original run."
            if self.same
            else "The random numbers at its start differ from those of the original run: was it seeded, and resumed?"
        )
        raise FloatingPointError(
            f"Replayed iteration {self.index + 1}. {doubt} The first module whose output is not finite: {found}."
        )

    def release(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        torch.autograd.set_detect_anomaly(False)

    def _watcher(self, name: str) -> Any:
        def watch(module: nn.Module, inputs: object, output: object) -> None:
            bad = any(not bool(torch.isfinite(tensor).all()) for tensor in _float_tensors(output))
            if bad and self.first is None:
                self.first = f"{name} ({type(module).__name__})"
                torch.autograd.set_detect_anomaly(False)

        return watch


def _float_tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in _float_tensors(one)]
    if isinstance(value, list | tuple):
        return [tensor for one in value for tensor in _float_tensors(one)]
    return []


NAMES = ("img_path", "path", "file", "file_name", "filename", "id", "sample_idx", "image_id", "index", "seg_map_path")


def write_bundle(
    folder: Path, index: int, facts: Mapping[str, Any], wrapper: object, replay: str, keep_batch: bool
) -> str:
    """Write `bundle.pt` and `report.json`; return what to tell the user. A disk that fails is reported too."""
    report = {
        "iter": index,
        "values": {name: to_json(_number(value)) for name, value in (facts["outputs"] or {}).items()},
        "not_finite": [name for name, value in (facts["outputs"] or {}).items() if not _is_finite(value)],
        "grad_norm": to_json(_number(facts["grad_norm"])),
        "lr": [group["lr"] for optimizer in optimizers_of(wrapper) for group in optimizer.param_groups],
        "samples": list(dict.fromkeys(sample_names(facts["batch"]))),
        "scaler": to_json(scaler.state_dict()) if (scaler := getattr(wrapper, "loss_scaler", None)) else None,
        "replay": f"{REPLAY}={shlex.quote(str((folder / 'bundle.pt').resolve()))} {replay}",
    }
    bundle: dict[str, Any] = {**report, "random": facts["random"]}
    if keep_batch:
        bundle["batch"] = _on_cpu(facts["batch"])
    lost = _try(lambda: write_whole(folder / "report.json", json.dumps(report, indent=1).encode()))
    missing = _try(lambda: write_whole(folder / "bundle.pt", lambda file: torch.save(bundle, file)))
    if missing:
        kept = f"The step was not saved and cannot be replayed: {missing}"
    else:
        kept = f"Kept in {folder}{f' ({lost})' if lost else ''}; replay with:\n  {report['replay']}"
    what = ", ".join(report["not_finite"]) or f"the gradient (norm {_number(facts['grad_norm'])})"
    samples = f" Samples: {', '.join(report['samples'][:8])}." if report["samples"] else ""
    return f"iteration {index + 1}: {what} is not finite.{samples} {kept}"


def _try(write: Callable[[], None]) -> str:
    """Write a file; return what came in the way."""
    try:
        write()
    except OSError as error:
        return str(error)
    return ""


def replay_command(checkpoint: Path | None, seed: int | None) -> str:
    """Return the command that started this; that of `seg` begins with this checkpoint or, without one, this seed.

    A script of one's own begins where it says itself: TrainState.resume() finds the checkpoint before the step.
    """
    words = [sys.executable, *_command()]
    if not any(Path(word).name == "seg" or word == "seg_engine" for word in words):
        return shlex.join(words)
    if checkpoint is not None:
        return shlex.join([*words, "--resume", str(checkpoint)])  # the last one of a flag counts
    if seed is not None:
        override = f"randomness.seed={seed}"
        place = words.index("--cfg-options") + 1 if "--cfg-options" in words else len(words)
        words[place:place] = [override] if "--cfg-options" in words else ["--cfg-options", override]
    return shlex.join(words)


def _command() -> list[str]:
    """Return the words after python; where torchrun has started processes on this machine, those that start as many."""
    own, count = sys.orig_argv[1:], os.environ.get("LOCAL_WORLD_SIZE")
    if size() == 1 or "TORCHELASTIC_RUN_ID" not in os.environ or count != str(size()):
        return own
    return ["-m", "torch.distributed.run", f"--nproc-per-node={count}", *own[own[:1] == ["-u"] :]]


def keep_checkpoint(checkpoint: Path | None, folder: Path) -> Path | None:
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
    """Tell whether every value that the step gave is finite."""
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
    """Yield paths and ids of the samples in a batch, found by usual names in dicts and in `metainfo`."""
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


def _on_cpu(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {str(name): _on_cpu(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_on_cpu(one) for one in value]
    return value if isinstance(value, int | float | str) or value is None else str(value)
