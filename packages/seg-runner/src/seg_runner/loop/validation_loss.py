"""The loss on validation data: measured on request, or given by a model as the last of its outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from seg_runner.distributed.world import World
from seg_runner.model.wrapping import unwrap

__all__ = ["LossMeter", "batch_losses"]


class LossMeter:
    """Averages losses over the samples of a validation pass; nothing waits for the device before `values`.

    The sum is that of all ranks' batches, correctly rounded: so it does not depend on who measured which.

    Args:
        model: The model whose loss is measured on every batch; None to take only what the model itself appends.
        world: The processes that share the batches.
    """

    def __init__(self, model: nn.Module | None, world: World | None = None) -> None:
        self._model, self._world = model, world or World()
        self._sums: dict[str, list[Any]] = {}
        self._count = 0

    def split(self, outputs: Sequence[Any], batch: object) -> Sequence[Any]:
        """Return the outputs without an appended loss; the loss goes into the average."""
        if not hasattr(outputs, "__len__") or isinstance(outputs, Mapping | str):
            raise TypeError(
                "a validation or test step must return a list with one sample for each image, not "
                f"{type(outputs).__name__}"
            )
        appended = _appended_loss(outputs)
        if appended is not None:
            outputs = outputs[:-1]
            self._add(appended, len(outputs))
        elif self._model is not None:
            self._add(batch_losses(self._model, batch), len(outputs))
        return outputs

    def follow(self, outputs: Sequence[Any], batch: object) -> None:
        """Call the model as `split` does, for a batch that counts on another rank."""
        if self._model is not None and _appended_loss(outputs) is None:
            batch_losses(self._model, batch)

    def _add(self, losses: Mapping[str, Any], count: int) -> None:
        for name, value in losses.items():
            self._sums.setdefault(name, []).append(torch.as_tensor(value).detach().float().mean() * count)
        self._count += count

    def values(self, mode: str) -> dict[str, float]:
        """Return each named loss, and their total as `val_loss` or `test_loss`; empty where no loss was met."""
        told = self._world.gather((self._count, {name: torch.stack(own).tolist() for name, own in self._sums.items()}))
        count = sum(number for number, _ in told)
        if not count:
            return {}
        names = dict.fromkeys(name for _, sums in told for name in sums)
        found = {name: _total([one for _, sums in told for one in sums.get(name, ())]) / count for name in names}
        total = found.pop("loss", None)
        parts = [value for name, value in found.items() if "loss" in name]
        return {**found, f"{mode}_loss": sum(parts) if total is None else total}


def _total(values: Sequence[float]) -> float:
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


def _appended_loss(outputs: Sequence[Any]) -> Mapping[str, Any] | None:
    """Return the losses, if the last output is a record whose only field is `loss`."""
    if not len(outputs):
        return None
    keys = getattr(outputs[-1], "keys", None)
    if not callable(keys) or list(keys()) != ["loss"]:
        return None
    last = outputs[-1]
    loss = last["loss"] if isinstance(last, Mapping) else last.loss
    return loss if isinstance(loss, Mapping) else {"loss": loss}


def batch_losses(model: nn.Module, batch: object) -> dict[str, Any]:
    """Return the losses of one batch in evaluation mode, `loss` being their total.

    Raises:
        TypeError: the model has no way to give a loss outside `train_step`.
    """
    gathered = getattr(model, "call_gathered", None)  # of one in parts
    if callable(gathered):
        return dict(gathered(batch_losses, batch))
    model = model if hasattr(model, "batch_losses") else unwrap(model)
    own = getattr(model, "batch_losses", None)
    if callable(own):
        return dict(own(batch))
    preprocess, parse = getattr(model, "data_preprocessor", None), getattr(model, "parse_losses", None)
    if not callable(preprocess) or not callable(parse):
        raise TypeError(
            f"the loss on validation data was asked for, but {type(model).__name__} has neither batch_losses(batch) "
            "nor data_preprocessor and parse_losses: add one of them, or leave out loss=True"
        )
    data = preprocess(batch, False)
    losses = model(**data, mode="loss") if isinstance(data, Mapping) else model(*data, mode="loss")
    return dict(parse(losses)[1])
