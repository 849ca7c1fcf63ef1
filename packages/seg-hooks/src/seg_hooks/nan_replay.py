"""Replaying a step that was not finite: which module gave the first output that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["REPLAY", "Replay"]

REPLAY = "SEG_NAN_REPLAY"


class Replay:
    """Trains up to the bundle's step, watches it closely, says what was found, and ends the run."""

    def __init__(self, bundle: Path, iteration: int) -> None:
        self.index = int(torch.load(bundle, map_location="cpu", weights_only=True)["iter"])
        if iteration > self.index:
            raise ValueError(
                f"{REPLAY}={bundle}: its step is {self.index}, and the run begins at {iteration}; "
                "start it from an earlier checkpoint."
            )
        self.first: str | None = None
        self._handles: list[Any] = []

    def before_step(self, runner: Any) -> None:
        """At the bundle's step: watch every module, and let autograd name the operation."""
        if runner.iter != self.index:
            return
        runner.logger.info("Replaying iteration %d.", self.index + 1)
        torch.autograd.set_detect_anomaly(True)
        for name, module in runner.model.named_modules():
            self._handles.append(module.register_forward_hook(self._watcher(name or "the model itself")))

    def after_step(self, runner: Any) -> None:
        """Say what was found, and end."""
        if runner.iter != self.index:
            return
        for handle in self._handles:
            handle.remove()
        torch.autograd.set_detect_anomaly(False)
        found = self.first or "none: the forward pass was finite, so look at the loss and the gradient"
        raise FloatingPointError(
            f"Replayed iteration {self.index + 1}. The first module whose output is not finite: {found}."
        )

    def _watcher(self, name: str) -> Any:
        def watch(module: nn.Module, inputs: Any, output: Any) -> None:
            bad = any(not bool(torch.isfinite(tensor).all()) for tensor in _tensors(output))
            if bad and self.first is None:
                self.first = f"{name} ({type(module).__name__})"
                torch.autograd.set_detect_anomaly(False)

        return watch


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in _tensors(one)]
    if isinstance(value, list | tuple):
        return [tensor for one in value for tensor in _tensors(one)]
    return []
