"""Replaying a step that was not finite: which module gave the first output that is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seg_hooks.protocols import HasModel, Logs, Progress
from seg_hooks.read_checkpoint import load_bounded

__all__ = ["BEFORE", "REPLAY", "Replay", "kept_checkpoint", "last_step", "replaying"]

REPLAY = "SEG_NAN_REPLAY"
BEFORE = "before.pth"


def replaying() -> bool:
    """Whether this process was started to replay a step; then nothing is saved or sent."""
    return bool(os.environ.get(REPLAY))


def last_step() -> int | None:
    """Finished iterations before the step that is to be replayed; None where none is."""
    return int(_read()["iter"]) if replaying() else None


def kept_checkpoint() -> Path | None:
    """The checkpoint before the step that is to be replayed, where it was kept beside the bundle."""
    if not replaying():
        return None
    path = Path(os.environ[REPLAY]).with_name(BEFORE)
    return path if path.is_file() else None


def _read() -> dict[str, Any]:
    """The bundle that the environment names."""
    path = Path(os.environ[REPLAY])
    try:
        bundle: dict[str, Any] = load_bounded(path)
    except Exception as error:  # whatever the file is, it is no bundle
        raise ValueError(f"{REPLAY}={str(path)!r} is no bundle.pt that NanGuardHook has kept: {error}") from error
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
                f"{REPLAY}: its step is {self.index + 1}, and this run begins with step {iteration + 1}; "
                "start it from an earlier checkpoint."
            )
        self.first: str | None = None
        self.same = False
        self._handles: list[Any] = []

    def before_step(self, runner: _Runner) -> None:
        """At the bundle's step: watch every module, and let autograd name the operation."""
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
            "The random numbers at its start are those of the run."
            if self.same
            else "The random numbers at its start are not those of the run: was it seeded, and resumed?"
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
            bad = any(not bool(torch.isfinite(tensor).all()) for tensor in _tensors(output))
            if bad and self.first is None:
                self.first = f"{name} ({type(module).__name__})"
                torch.autograd.set_detect_anomaly(False)

        return watch


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in _tensors(one)]
    if isinstance(value, list | tuple):
        return [tensor for one in value for tensor in _tensors(one)]
    return []
