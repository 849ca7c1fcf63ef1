"""Running averages of a model's weights: exponential, annealed exponential, and plain mean (SWA)."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from seg_hooks.checks import flag, number, whole
from seg_hooks.model.following import (
    Extra,
    Watch,
    aligned,
    alike,
    by_kind,
    can_average,
    copied,
    exchange,
    extra_pairs,
    pairs_by_name,
    take,
    take_extra,
)

__all__ = ["BaseAveragedModel", "ExponentialMovingAverage", "MomentumAnnealingEMA", "StochasticWeightAverage"]


Device = str | int | torch.device | None


class BaseAveragedModel(nn.Module):
    """A copy of a model that follows it as a running average; subclass it and write `average` for a rule of your own.

    The first call of `update_parameters` copies, later ones average every `interval`-th time. Parameters are
    averaged; buffers are copied at each call, or averaged too with `update_buffers=True` (whole-number buffers and
    the like are copied always, and so is what modules give as `get_extra_state`). The tensors are listed once, so an
    update is a few multi-tensor calls; they are listed again when the model has replaced one of them, or has other
    modules. A tensor of another shape starts a new average.

    Args:
        model: The model to follow.
        interval: Average at every so many calls.
        device: Where the average lives; None means beside the model.
        update_buffers: Average floating-point buffers instead of copying them.
    """

    steps: Tensor

    def __init__(
        self, model: nn.Module, interval: int = 1, device: Device = None, update_buffers: bool = False
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.module = copied(model)
        if device is not None:
            self.module = self.module.to(_usable(name, device))
        self.interval = whole(name, "interval", interval, least=1)
        self.update_buffers = flag(name, "update_buffers", update_buffers)
        self.register_buffer("steps", torch.tensor(0, dtype=torch.long))
        self.count = 0
        self._source: tuple[nn.Module | None] = (None,)  # a bare module would become a part of this one
        self._watch: Watch | None = None
        self._groups: list[tuple[list[Tensor], list[Tensor]]] = []
        self._copied: list[tuple[list[Tensor], list[Tensor]]] = []
        self._extra: list[Extra] = []
        self._places: dict[int, tuple[list[Tensor], int] | None] = {}
        self._versions: dict[int, int] = {}
        self._quiet: Any = None
        self.follow(model)

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Run the averaged model."""
        return self.module(*args, **kwargs)

    @abstractmethod
    def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """Move `averaged` towards `sources` in place; `steps` is the number of earlier updates (at least 1)."""

    def update_parameters(self, model: nn.Module) -> None:
        """Take in the present weights of `model`."""
        if model is not self._source[0] or self._watch is None or (self._watch.changed() and not self._exchanged()):
            self.follow(model)
        with self._quiet:
            self._update()
        if self._extra:
            take_extra(self._extra)
        vars(self)["count"] += 1  # a module looks at what it is given by name, for longer than a small update takes

    def _update(self) -> None:
        if self.count == 0:
            for averaged, sources in self._groups:
                self._take(averaged, sources)
        elif self.count % self.interval == 0:
            for averaged, sources in self._groups:
                self._average(averaged, sources)
        for averaged, sources in self._copied:
            self._take(averaged, sources)

    def _average(self, averaged: list[Tensor], sources: list[Tensor]) -> None:
        """Average a group; tensors whose `.data` became of another kind, which no identity shows, go by themselves."""
        try:
            self.average(averaged, _beside(averaged, sources), self.count)
        except RuntimeError:
            odd = next((pair for pair in zip(averaged, sources, strict=True) if not alike(*pair)), None)
            if odd is None:
                raise
            # the multi-tensor call goes from tensor to tensor then: those before the odd one are done
            done = self._changes(odd[0])
            left = [pair for pair in zip(averaged, sources, strict=True) if self._changes(pair[0]) == done]
            self._source = (None,)  # list all of them again at the next update
            for mine, other in left:
                if mine.shape == other.shape:
                    self.average([mine], _beside([mine], [other]), self.count)
                else:
                    take(mine, other)

    def _changes(self, averaged: Tensor) -> int:
        """Count how often a tensor of the average was written since it was listed."""
        return averaged._version - self._versions[id(averaged)]

    def _take(self, averaged: list[Tensor], sources: list[Tensor]) -> None:
        try:
            torch._foreach_copy_(averaged, sources)
        except RuntimeError:
            for mine, other in zip(averaged, sources, strict=True):
                take(mine, other)

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """List the tensors of `model` and of the average again, after giving the average those that `model` has now."""
        if model is self._source[0] and self._watch is not None and self._watch.changed():
            self.module = aligned(self.module, model, self._watch.modules, self.update_buffers)
        self._source, self._watch = (model,), Watch(model)
        pairs = pairs_by_name(self.module.named_parameters(), model.named_parameters(remove_duplicate=False))
        buffers = pairs_by_name(self.module.named_buffers(), model.named_buffers(remove_duplicate=False))
        if self.update_buffers:
            pairs += buffers
        moving = [pair for pair in pairs if can_average(pair[0])]
        still = [pair for pair in pairs if not can_average(pair[0])]
        self._groups = by_kind(moving)
        self._copied = by_kind(still if self.update_buffers else still + buffers)
        self._extra = extra_pairs(self.module, model)
        self._places = {}
        for _, sources in chain(self._groups, self._copied):
            for index, source in enumerate(sources):
                self._places[id(source)] = None if id(source) in self._watch.tied else (sources, index)
        self._versions = {id(mine): mine._version for mine, _ in pairs}
        # spares autograd a look at every tensor, 5 % of the time; tensors of other classes may not bear it
        plain = all(type(tensor) in (Tensor, nn.Parameter) for pair in [*pairs, *buffers] for tensor in pair)
        self._quiet = torch.inference_mode() if plain else torch.no_grad()

    def _exchanged(self) -> bool:
        """Put tensors that the model replaced into the lists; False where more than that has changed."""
        replaced = None if self._watch is None else self._watch.replaced()
        for old, new in replaced or ():
            place = self._places.pop(id(old), None)
            if place is None or id(new) in self._places or type(old) is not type(new) or not alike(old, new):
                return False
            self._places[id(new)] = place
            sources, index = place
            sources[index] = new
        if replaced is None or self._watch is None:
            return False
        self._watch.renew()
        return True

    def swap(self, model: nn.Module) -> None:
        """Exchange the averaged values of this average and of `model`, in place and a few tensors at a time."""
        self.follow(model)
        exchange(self._groups)

    def _save_to_state_dict(self, *args: object, **kwargs: object) -> None:
        """Write the count, kept as a plain number so that no step waits for a device, into its buffer."""
        self.steps.fill_(self.count)
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.count = int(self.steps)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lists out, which point into another model, and what is made with them."""
        lists: dict[str, Any] = {"_groups": [], "_copied": [], "_extra": [], "_places": {}, "_versions": {}}
        return {**self.__dict__, "_source": (None,), "_watch": None, "_quiet": None, **lists}


class ExponentialMovingAverage(BaseAveragedModel):
    """`average = average + momentum * (weights - average)` at each update, computed as `torch.lerp`.

    Args:
        model: The model to follow.
        momentum: Share of the new weights, between 0 and 1; the inverse of what others call decay (0.0002 = 0.9998).
        interval: Average at every so many calls.
        device: Where the average lives; None means beside the model.
        update_buffers: Average floating-point buffers instead of copying them.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> average = ExponentialMovingAverage(net, momentum=0.1)
        >>> for value in (1.0, 2.0, 3.0):
        ...     _ = net.weight.data.fill_(value)
        ...     average.update_parameters(net)
        >>> round(average.module.weight.item(), 4)
        1.29
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        interval: int = 1,
        device: Device = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        self.momentum = _momentum(type(self).__name__, momentum)

    def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """Move by one multi-tensor lerp."""
        torch._foreach_lerp_(averaged, sources, self.momentum)


class MomentumAnnealingEMA(BaseAveragedModel):
    """An exponential average that forgets its beginning: momentum is `max(momentum, gamma / (gamma + steps))`.

    Args:
        model: The model to follow.
        momentum: The final share of the new weights.
        gamma: The larger, the longer the early weights are forgotten quickly; above 0.
        interval: Average at every so many calls.
        device: Where the average lives; None means beside the model.
        update_buffers: Average floating-point buffers instead of copying them.
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        gamma: int = 100,
        interval: int = 1,
        device: Device = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        self.momentum = _momentum(type(self).__name__, momentum)
        self.gamma = number(type(self).__name__, "gamma", gamma, above=0)

    def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """Move by one multi-tensor lerp, with the momentum of this step."""
        momentum = max(self.momentum, self.gamma / (self.gamma + steps))
        torch._foreach_lerp_(averaged, sources, momentum)


class StochasticWeightAverage(BaseAveragedModel):
    """The plain mean of the weights at every `interval`-th update (Izmailov et al., 2018).

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> average = StochasticWeightAverage(net)
        >>> for value in (1.0, 2.0, 6.0):
        ...     _ = net.weight.data.fill_(value)
        ...     average.update_parameters(net)
        >>> average.module.weight.item()
        3.0
    """

    def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """Move by two multi-tensor calls: the difference, and its share added."""
        change = torch._foreach_sub(sources, averaged)
        torch._foreach_add_(averaged, change, alpha=1 / (steps // self.interval + 1))


def _usable(owner: str, device: Device) -> Device:
    """Return `device` if tensors can be made on it here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{owner}: device={device!r} cannot be used here ({reason}); give 'cpu' or None.") from error
    return device


def _momentum(owner: str, momentum: float) -> float:
    momentum = number(owner, "momentum", momentum, above=0, below=1)
    if momentum > 0.5:
        warnings.warn(
            f"{owner}: momentum={momentum} is the share of the new weights, and usually small (0.0002); "
            f"did you mean momentum={round(1 - momentum, 6)}?",
            stacklevel=3,
        )
    return momentum


def _beside(averaged: list[Tensor], sources: list[Tensor]) -> list[Tensor]:
    first, other = averaged[0], sources[0]
    if first.device == other.device and first.dtype == other.dtype:
        return sources
    return [source.to(first.device, first.dtype) for source in sources]
