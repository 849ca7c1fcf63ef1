"""What belongs to one virtual rank: its gradients in flat tensors, its buffers, and what its model counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from seg_runner.distributed.ddp import LossRecorder

__all__ = ["Buffers", "Flats", "Layout", "Leaf", "RankRecorder"]

ROOM = 64
"""So many numbers (losses) of a step are sent along with the gradients."""


class RankRecorder(LossRecorder):
    """Keeps the loss of one virtual rank, and tells what it counts in an accumulation.

    Args:
        wrapper: The real optimizer wrapper.
        average: How many samples a virtual rank has on the average, by those of this one.
    """

    def __init__(self, wrapper: object, average: float) -> None:
        super().__init__(wrapper)
        self.average = average

    def over_ranks(self, count: torch.Tensor) -> torch.Tensor:
        """Return a count (of pixels) as a virtual rank has it on the average: its loss is weighed already."""
        return count if self.average == 1 else count * self.average


class Flats(list[torch.Tensor]):
    """The gradients of all parameters in one tensor for each type of number, and each parameter's as a view of it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(torch.empty(size, dtype=dtype, device=device) for size, dtype, device in layout.sizes)
        self.layout = layout
        self.views = [_as(parameter, self[which], at) for parameter, (which, at) in layout.places.items()]

    @property
    def note(self) -> torch.Tensor | None:
        """Room for what is sent along; None where there is none in float32."""
        return self[0][self.layout.end :] if self and self[0].dtype is torch.float32 else None


def _as(parameter: nn.Parameter, flat: torch.Tensor, at: int) -> torch.Tensor:
    """Return the part of a flat tensor that is a parameter's, in its order in memory."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(parameter.shape, parameter.stride(), strict=True))
    if parameter.numel() and extent == parameter.numel():
        return flat.as_strided(parameter.shape, parameter.stride(), at)
    return flat[at : at + parameter.numel()].view(parameter.shape)


class Layout:
    """Where in flat tensors the gradient of each parameter lies.

    Args:
        parameters: All of a model; those that are trained get a place.
        room: How many further numbers there is room for at the end of the first tensor.
        size: Every tensor is a multiple of it long.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], room: int, size: int) -> None:
        self.known = list(parameters)
        self.trained = [parameter.requires_grad for parameter in self.known]
        kinds: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
        for parameter in self.known:
            if parameter.requires_grad:
                kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        kinds = dict(sorted(kinds.items(), key=lambda kind: kind[0][0] is not torch.float32))
        self.places: dict[nn.Parameter, tuple[int, int]] = {}
        self.sizes: list[tuple[int, torch.dtype, torch.device]] = []
        self.end = 0
        for which, ((dtype, device), group) in enumerate(kinds.items()):
            at = 0
            for parameter in group:
                self.places[parameter] = which, at
                at += parameter.numel()
            self.end = at if which == 0 else self.end
            total = at + len(self.known) + ROOM + room if which == 0 else at
            self.sizes.append((-(-total // size) * size, dtype, device))
        self.parameters = list(self.places)
        self.spare: list[Flats] = []

    def fits(self) -> bool:
        """Tell whether the same parameters are trained as when this was made."""
        return [parameter.requires_grad for parameter in self.known] == self.trained

    def take(self) -> Flats:
        """Return flat tensors that nobody uses."""
        return self.spare.pop() if self.spare else Flats(self)

    def set_gradients(self, flats: Flats, used: Sequence[bool]) -> None:
        """Leave the gradients where an update looks for them; None for parameters that nobody's loss depends on."""
        for parameter, view, there in zip(self.parameters, flats.views, used, strict=True):
            parameter.grad = view if there else None


class Leaf:
    """One virtual rank in the middle of a step, or of an accumulation.

    Attributes:
        flats: Its gradients so far; None where an accumulation begins.
        used: Which parameters have one.
        loss: Of its batch, until it went backward.
        options: Of the update, as the model gave them.
        outputs: What the model's own step returned.
    """

    def __init__(self) -> None:
        self.flats: Flats | None = None
        self.used: list[bool] = []
        self.loss: torch.Tensor | None = None
        self.options: dict[str, Any] = {}
        self.outputs: Any = None
        self.window: Mapping[str, torch.Tensor] = {}
        self.gradients: list[torch.Tensor | None] = []  # these three while it waits for others
        self.buffers: list[Any] = []
        self.numbers: tuple[Any, list[torch.Tensor]] = (None, [])

    def give_gradients(self, layout: Layout) -> None:
        """Put the gradients so far to the parameters."""
        if self.flats is None:
            for parameter in layout.parameters:
                parameter.grad = None
        else:
            layout.set_gradients(self.flats, self.used)

    def take_gradients(self, layout: Layout) -> None:
        """Take the gradients from the parameters."""
        if self.flats is None:
            self.flats, self.used = layout.take(), [False] * len(layout.parameters)
        into: list[torch.Tensor] = []
        fresh: list[torch.Tensor] = []
        for place, (parameter, view) in enumerate(zip(layout.parameters, self.flats.views, strict=True)):
            gradient = parameter.grad
            if gradient is None:
                if not self.used[place]:
                    view.zero_()
                continue
            self.used[place] = True
            if gradient is not view:
                into.append(view)
                fresh.append(gradient.to_dense() if gradient.is_sparse else gradient)
        if into:
            torch._foreach_copy_(into, fresh)

    def hand_over(self) -> Flats:
        """Return the gradients, which are no longer this rank's."""
        assert self.flats is not None
        flats, self.flats = self.flats, None
        return flats

    def give_window(self, model: nn.Module) -> None:
        """Let a model that counts over an accumulation go on where it was with this rank."""
        if callable(take := getattr(model, "take_open_window", None)):
            take(self.window)

    def take_window(self, model: nn.Module) -> None:
        """Keep what a model counts over an accumulation."""
        if callable(counted := getattr(model, "open_window", None)):
            self.window = dict(counted())


class Buffers:
    """The buffers of a model, such as running statistics, in a step that several virtual ranks begin with the same.

    Args:
        module: The model.
        copied: Whether this process has several virtual ranks: each gets a copy then.
    """

    def __init__(self, module: nn.Module, copied: bool) -> None:
        self.places = [
            (part._buffers, name) for part in module.modules() for name, one in part._buffers.items() if one is not None
        ]
        self.copied = copied
        self._always = {place for place, (_, name) in enumerate(self.places) if name.startswith("running_")}
        self._start: list[Any] = []
        self._kept: list[Any] = []
        self._versions: dict[int, int] = {}
        self._taken: list[list[Any]] = []
        self._changed: set[int] = set()

    @property
    def room(self) -> int:
        """How many numbers there are in buffers that may change from step to step."""
        found = [one for one in self.now() if one.is_floating_point()]
        return sum(one.numel() for one in found if one.numel() <= 1 << 16)

    def now(self) -> list[Any]:
        """Return them as they are."""
        return [buffers[name] for buffers, name in self.places]

    def begin(self) -> None:
        """Begin a step."""
        self._start = self.now()
        self._versions = {id(one): one._version for one in self._start}
        self._taken, self._kept = [], []
        self._changed = set(self._always)  # torch's own batch norm changes them, and no version tells it

    def give(self) -> None:
        """Give the model a copy of what the step began with."""
        if self.copied:
            given = [one.clone() for one in self._start]
            self._versions |= {id(one): one._version for one in given}
            self._kept += given  # so that no other gets the identity of one
            self.put(given)

    def take(self) -> None:
        """Keep what a virtual rank has made of them."""
        now = self.now()
        self._changed |= {place for place, one in enumerate(now) if self._versions.get(id(one)) != one._version}
        self._taken.append(now)

    def changed(self, rank: int) -> list[torch.Tensor]:
        """Return those of the numbers that are averaged, as a virtual rank of this process left them."""
        return [self._taken[rank][place].reshape(-1) for place in self._averaged()]

    def _averaged(self) -> list[int]:
        return [place for place in sorted(self._changed) if self._start[place].is_floating_point()]

    def end(self, mean: torch.Tensor) -> None:
        """Put the mean over all virtual ranks into the buffers; counts are the same on all of them.

        Args:
            mean: Of what `changed` gives, one after another.
        """
        last = self._taken[-1]
        kept = self._start if self.copied else last
        with torch.no_grad():
            for place in sorted(self._changed):
                if not self._start[place].is_floating_point():
                    kept[place].copy_(last[place])
                    continue
                size = kept[place].numel()
                kept[place].copy_(mean[:size].view(kept[place].shape))
                mean = mean[size:]

    def put_back(self) -> None:
        """Give the model its own buffers again."""
        if self.copied:
            self.put(self._start)

    def put(self, values: Sequence[Any]) -> None:
        """Give the model these."""
        for (buffers, name), value in zip(self.places, values, strict=True):
            buffers[name] = value
