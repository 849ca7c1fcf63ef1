"""ScalarStore: the last values of each scalar and facts about a run; nothing waits for a device until it is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from seg_hooks.conversions import as_float, as_number, is_builtin, is_readable
from seg_hooks.device import widest_float
from seg_hooks.processes.world import World

__all__ = ["MeansOverRanks", "ScalarStore"]


class ScalarStore:
    """Keeps the last `window` values of each scalar; a tensor stays where it is until somebody reads it."""

    def __init__(self, window: int = 100) -> None:
        self.window = window
        self.scalars: dict[str, deque[Any]] = {}
        self.runtime_info: dict[str, Any] = {}
        self._session: set[str] = set()

    def update_scalar(self, name: str, value: object, count: int = 1, resumed: bool = True) -> None:
        """Add a value: a number, or a tensor or array with one element."""
        if isinstance(value, Tensor):
            value = value.detach()
            if value.numel() != 1:
                raise ValueError(f"scalar {name!r} is a tensor of shape {tuple(value.shape)}; give one number.")
            if not is_readable(value):
                kind = f"{value.dtype}, {value.layout}, on {value.device}"
                raise TypeError(f"scalar {name!r} is a tensor of {kind}; give a real number.")
        elif not isinstance(value, int | float):
            value = _as_number(name, value)
        try:
            self.scalars[name].append(value)
        except KeyError:
            self.scalars[name] = deque([value], maxlen=self.window)

    def update_scalars(self, values: Mapping[str, object], resumed: bool = True) -> None:
        """Add several values."""
        for name, value in values.items():
            self.update_scalar(name, value)

    def get_scalar(self, name: str) -> list[float]:
        """Return the last values of one scalar."""
        return self.read([name])[name]

    def read(self, names: Iterable[str], last: int | None = None) -> dict[str, list[float]]:
        """Return the last values of these scalars as floats, brought over in one transfer per device."""
        chosen = {name: list(self.scalars[name])[-(last or self.window) :] for name in names}
        waiting = [value for values in chosen.values() for value in values if isinstance(value, Tensor)]
        numbers = iter(_transfer(waiting))
        return {
            name: [next(numbers) if isinstance(value, Tensor) else as_float(value) for value in values]
            for name, values in chosen.items()
        }

    def forget(self, prefix: str) -> None:
        """Drop the scalars whose name begins so."""
        for name in [name for name in self.scalars if name.startswith(prefix)]:
            del self.scalars[name]

    def update_info(self, name: str, value: object, resumed: bool = True) -> None:
        """Set a fact; one that is not `resumed` stays out of checkpoints."""
        self.runtime_info[name] = value
        if not resumed:
            self._session.add(name)

    def update_info_dict(self, values: Mapping[str, object], resumed: bool = True) -> None:
        """Set several facts."""
        for name, value in values.items():
            self.update_info(name, value, resumed)

    def get_info(self, name: str, default: object = None) -> Any:
        """Return a fact, or the default."""
        return self.runtime_info.get(name, default)

    def pop_info(self, name: str, default: object = None) -> Any:
        """Remove a fact and return it, or the default."""
        return self.runtime_info.pop(name, default)

    def state_dict(self) -> dict[str, Any]:
        """Return plain lists and values, in the layout of MMEngine's message hub."""
        infos = {name: value for name, value in self.runtime_info.items() if name not in self._session}
        return {
            "log_scalars": self.read(self.scalars),
            "runtime_info": {name: value for name, value in infos.items() if is_builtin(value)},
            "resumed_keys": {},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over values and facts."""
        for name, values in state_dict["log_scalars"].items():
            if isinstance(values, list | tuple):
                self.scalars[name] = deque(map(float, values), maxlen=self.window)
        self.runtime_info.update(state_dict["runtime_info"])


class MeansOverRanks:
    """Averages values over the ranks, in one collective: the names are told once, and again when they change.

    Args:
        world: The ranks.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._names: list[str] = []

    def __call__(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean of each value over those ranks that have it; called by every rank."""
        if self.world.size == 1:
            return values
        changed, row = self._add(values)
        if changed:
            told = self.world.gather(list(values))
            self._names = list(dict.fromkeys([*self._names, *(name for names in told for name in names)]))
            _, row = self._add(values)
        size = len(self._names)
        return {name: row[i] / row[size + i] for i, name in enumerate(self._names) if row[size + i]}

    def _add(self, values: dict[str, float]) -> tuple[bool, list[float]]:
        """Add the values up: whether any rank has another name, then sums, then how many ranks have each."""
        new = float(any(name not in self._names for name in values))
        there = [float(name in values) for name in self._names]
        found = self.world.add([new, *(values.get(name, 0.0) for name in self._names), *there])
        return bool(found[0]), found[1:]


def _as_number(name: str, value: object) -> float:
    """Return a number of numpy or the like as a plain one."""
    number = as_number(value)
    if number is None:
        raise TypeError(f"scalar {name!r} is {value!r}, a {type(value).__name__}; give one number.")
    return as_float(number)


def _transfer(tensors: list[Tensor]) -> list[float]:
    """Bring all values over, in order; one transfer for each device."""
    by_device: dict[torch.device, list[int]] = {}
    for index, tensor in enumerate(tensors):
        by_device.setdefault(tensor.device, []).append(index)
    values = [0.0] * len(tensors)
    for device, indices in by_device.items():
        row = torch.stack([tensors[index].reshape(()).to(widest_float(device)) for index in indices]).tolist()
        for index, value in zip(indices, row, strict=True):
            values[index] = value
    return values
