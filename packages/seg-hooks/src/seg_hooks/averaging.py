"""Running averages of a model's weights: exponential, annealed exponential, and plain mean (SWA)."""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seg_hooks.options import flag, number, whole

__all__ = ["BaseAveragedModel", "ExponentialMovingAverage", "MomentumAnnealingEMA", "StochasticWeightAverage"]


class BaseAveragedModel(nn.Module):
    """A copy of a model that follows it as a running average; subclass it and write `average` for a rule of your own.

    The first call of `update_parameters` copies, later ones average every `interval`-th time. Parameters are
    averaged; buffers are copied at each call, or averaged too with `update_buffers=True` (whole-number buffers and
    the like are copied always). The tensors are listed once, so an update is a few multi-tensor calls.

    Args:
        model: The model to follow.
        interval: Average at every so many calls.
        device: Where the average lives; None means beside the model.
        update_buffers: Average floating-point buffers instead of copying them.
    """

    steps: Tensor

    def __init__(self, model: nn.Module, interval: int = 1, device: Any = None, update_buffers: bool = False) -> None:
        super().__init__()
        name = type(self).__name__
        self.module = copy.deepcopy(model).requires_grad_(False)
        if device is not None:
            self.module = self.module.to(_usable(name, device))
        self.interval = whole(name, "interval", interval, least=1)
        self.update_buffers = flag(name, "update_buffers", update_buffers)
        self.register_buffer("steps", torch.tensor(0, dtype=torch.long))
        self.count = 0
        self._source: tuple[nn.Module | None] = (None,)  # a bare module would become a part of this one
        self._groups: list[tuple[list[Tensor], list[Tensor]]] = []
        self._copied: list[tuple[list[Tensor], list[Tensor]]] = []
        self._quiet: Any = torch.no_grad

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the averaged model."""
        return self.module(*args, **kwargs)

    @abstractmethod
    def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """Move `averaged` towards `sources` in place; `steps` is the number of earlier updates (at least 1)."""

    def update_parameters(self, model: nn.Module) -> None:
        """Take in the present weights of `model`."""
        if model is not self._source[0]:
            self.follow(model)
        with self._quiet():
            self._update()
        self.count += 1

    def _update(self) -> None:
        if self.count == 0:
            for averaged, sources in self._groups:
                _copy(averaged, sources)
        elif self.count % self.interval == 0:
            for averaged, sources in self._groups:
                self.average(averaged, _beside(averaged, sources), self.count)
        for averaged, sources in self._copied:
            _copy(averaged, sources)

    def follow(self, model: nn.Module) -> None:
        """List the tensors of `model` and of the average again; needed only where tensors of it were replaced."""
        self._source = (model,)
        pairs = _pairs(self.module.named_parameters(), model.named_parameters())
        buffers = _pairs(self.module.named_buffers(), model.named_buffers())
        if self.update_buffers:
            pairs += buffers
        moving = [pair for pair in pairs if _can_average(pair[0])]
        still = [pair for pair in pairs if not _can_average(pair[0])]
        self._groups = _by_kind(moving)
        self._copied = _by_kind(still if self.update_buffers else still + buffers)
        # spares autograd a look at every tensor, 5 % of the time; tensors of other classes may not bear it
        plain = all(type(tensor) in (Tensor, nn.Parameter) for pair in [*pairs, *buffers] for tensor in pair)
        self._quiet = torch.inference_mode if plain else torch.no_grad

    def swap(self, model: nn.Module) -> None:
        """Exchange the averaged values of this average and of `model`, in place and a few tensors at a time."""
        self.follow(model)
        exchange(self._groups)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Write the count, kept as a plain number so that no step waits for a device, into its buffer."""
        self.steps.fill_(self.count)
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.count = int(self.steps)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lists out, which point into another model."""
        return {**self.__dict__, "_source": (None,), "_groups": [], "_copied": []}


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
        device: Any = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        self.momentum = _momentum(type(self).__name__, momentum)

    def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """One multi-tensor lerp."""
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
        device: Any = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        self.momentum = _momentum(type(self).__name__, momentum)
        self.gamma = number(type(self).__name__, "gamma", gamma, above=0)

    def average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """One multi-tensor lerp with the momentum of this step."""
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
        """Two multi-tensor calls: the difference, and its share added."""
        change = torch._foreach_sub(sources, averaged)
        torch._foreach_add_(averaged, change, alpha=1 / (steps // self.interval + 1))


_AT_ONCE = 32


@torch.no_grad()
def exchange(groups: Sequence[tuple[list[Tensor], list[Tensor]]]) -> None:
    """Exchange the values of two lists of tensors per group; the extra memory is that of a few tensors."""
    for ours, theirs in groups:
        for start in range(0, len(ours), _AT_ONCE):
            mine, other = ours[start : start + _AT_ONCE], theirs[start : start + _AT_ONCE]
            kept = [tensor.clone() for tensor in other]
            _copy(other, mine)
            _copy(mine, kept)


def matching(averaged: nn.Module, source: nn.Module) -> list[tuple[list[Tensor], list[Tensor]]]:
    """The parameters that two modules share by name, as groups of one data type and device."""
    return _by_kind(_pairs(averaged.named_parameters(), source.named_parameters()))


def _usable(owner: str, device: Any) -> Any:
    """`device` if tensors can be made on it here."""
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
            f"decay={round(1 - momentum, 6)} may have been meant the other way round.",
            stacklevel=3,
        )
    return momentum


def _pairs(
    averaged: Iterable[tuple[str, Tensor]], sources: Iterable[tuple[str, Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    found = dict(sources)
    return [(tensor, found[name]) for name, tensor in averaged if name in found]


def _can_average(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _by_kind(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Lists of one data type and device each: those take the fast path of multi-tensor calls."""
    groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for averaged, source in pairs:
        mine, theirs = groups[averaged.dtype, averaged.device, source.dtype, source.device]
        mine.append(averaged)
        theirs.append(source)
    return list(groups.values())


def _beside(averaged: list[Tensor], sources: list[Tensor]) -> list[Tensor]:
    first, other = averaged[0], sources[0]
    if first.device == other.device and first.dtype == other.dtype:
        return sources
    return [source.to(first.device, first.dtype) for source in sources]


def _copy(into: list[Tensor], sources: list[Tensor]) -> None:
    torch._foreach_copy_(into, sources)
