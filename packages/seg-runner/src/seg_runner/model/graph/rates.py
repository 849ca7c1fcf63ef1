"""Learning rates where a graph can read them, and optimizers that read them there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.optim import Optimizer

__all__ = ["Rates", "make_capturable"]


def make_capturable(optimizer: Optimizer, device: torch.device) -> None:
    """Let an optimizer do its step on the device alone: by `capturable`, and where there is none, fused.

    Its state moves along: Adam's count of steps lies on the host otherwise.
    """
    for group in optimizer.param_groups:
        if "capturable" in group and device.type != "cpu":  # torch takes it on accelerators only
            group["capturable"] = True
        elif not group.get("fused"):
            group["fused"], group["foreach"] = True, False
    for state in optimizer.state.values():
        count = state.get("step")
        if isinstance(count, torch.Tensor) and count.device != device:
            state["step"] = count.to(device, torch.float32)


class Rates:
    """The learning rate of each group as a tensor on the device.

    Everybody else (schedulers, hooks, checkpoints) finds numbers in the groups, as ever; the tensors are there only
    while a step runs. What a scheduler writes is brought over before the next step, without a wait, and only where it
    is another number.

    Args:
        optimizer: The optimizer.
        device: Where it steps. On a CPU the tensors are float64, so that a step is that of the plain number to the last
            bit; elsewhere float32, which is what torch's kernels take.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self._kind = torch.float64 if device.type == "cpu" else torch.float32
        self._device = device
        self._tensors: list[torch.Tensor] = []
        self._written: list[float] = []

    def write(self) -> None:
        """Bring the present rates over."""
        rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        if len(rates) != len(self._tensors):
            self._tensors = [torch.tensor(rate, dtype=self._kind, device=self._device) for rate in rates]
            self._written = rates
            return
        for index, rate in enumerate(rates):
            if rate != self._written[index]:
                self._tensors[index].fill_(rate)
                self._written[index] = rate

    @contextmanager
    def in_groups(self) -> Iterator[None]:
        """Have the optimizer read the tensors meanwhile."""
        groups = self.optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        for group, tensor in zip(groups, self._tensors, strict=True):
            group["lr"] = tensor
        try:
            yield
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number
