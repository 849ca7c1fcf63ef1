"""The message hub: scalars and notes of one run; tensors stay on their device until somebody reads them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import operator
from collections.abc import Mapping
from typing import Any, SupportsFloat

import torch

from seg_runner.checks import whole
from seg_runner.log.history import GATHER, HistoryBuffer

__all__ = ["HistoryBuffer", "MessageHub"]

Number = SupportsFloat
"""A number, or a tensor or array with one element."""

PENDING = 1024
"""So many updates may wait; then they are brought over although nobody asked, so that memory stays bounded."""


class MessageHub:
    """What the parts of one run tell each other: scalars with a history, and notes with one value.

    An update with tensors puts them into one small tensor of its own and returns: it does not wait for the device,
    keeps no graph and no batch alive, and later changes of the tensors in place do not show. All that waits is brought
    over together, in one transfer for each device and dtype, when a scalar is read.

    Args:
        max_length: how many values of each scalar are kept.
        state_length: how many of them go into checkpoints.
        name: what MMEngine calls its `instance_name`: the run's name.

    Example:
        >>> hub = MessageHub()
        >>> hub.update_scalars({"train/loss": torch.tensor(2.0), "train/lr": 0.1})
        >>> hub.update_info("iter", 1)
        >>> hub.get_scalar("train/loss").current(), hub.get_info("iter")
        (2.0, 1)
    """

    def __init__(self, max_length: int = 10_000, state_length: int = 200, name: str = "") -> None:
        self.instance_name = name
        self.max_length = whole(max_length, "max_length", 1)
        self.state_length = whole(state_length, "state_length")
        self._scalars: dict[str, HistoryBuffer] = {}
        self._info: dict[str, Any] = {}
        self._kept: dict[str, bool] = {}
        self._kept_info: dict[str, bool] = {}
        self._pending: list[tuple[list[str], int, torch.Tensor]] = []
        self._waiting: set[str] = set()

    # -- scalars -----------------------------------------------------------------------------------------------------

    def update_scalar(self, key: str, value: Number, count: int = 1, resumed: bool = True) -> None:
        """Add one value: a number, or a tensor or array with one element.

        Args:
            key: `train/loss`, `val/mIoU`, ...
            value: the value, which is the sum of `count` things.
            count: see above.
            resumed: whether checkpoints hold it; cannot change for a key.

        Raises:
            TypeError: if the value is no number.
            ValueError: if it has more than one element, or `resumed` changed.
        """
        if self._kept.get(key) is not resumed:
            self._announce(key, resumed)
        if type(count) is not int:
            count = whole(count, f"count of scalar {key!r}")
        if isinstance(value, torch.Tensor):
            self._hold_singly([key], [value], count)
            return
        number = value if type(value) is float else _number(key, value)
        if key in self._waiting:
            self._flush()
        history = self._scalars[key]
        if count == 1 and len(history.added) < GATHER:
            history.added.append(number)  # all that a step pays for
        else:
            history.update(number, count)

    def update_scalars(self, log_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Add several values at once: the cheapest way for what a training step returns.

        Args:
            log_dict: values by key, each as in `update_scalar`, or `dict(value=..., count=...)`.
            resumed: see `update_scalar`.
        """
        if type(log_dict) is not dict and not isinstance(log_dict, Mapping):
            raise TypeError(f"update_scalars takes a dict of values by name, not {type(log_dict).__name__}")
        names: list[str] = []
        tensors: list[torch.Tensor] = []
        dtypes: set[torch.dtype] = set()
        for key, value in log_dict.items():
            if isinstance(value, torch.Tensor):
                if self._kept.get(key) is not resumed:
                    self._announce(key, resumed)
                names.append(key)
                tensors.append(value)
                dtypes.add(value.dtype)
            elif type(value) is float or not isinstance(value, Mapping):
                self.update_scalar(key, value, 1, resumed)
            else:
                self.update_scalar(key, value["value"], value.get("count", 1), resumed)
        if not tensors:
            return
        try:
            row = torch.stack(tensors) if len(dtypes) == 1 else None  # a copy: later changes in place do not show
        except RuntimeError:  # of several shapes, or on several devices
            row = None
        if row is None or row.dim() != 1:
            self._hold_singly(names, tensors)
            return
        self._pending.append((names, 1, row.detach() if row.requires_grad else row))
        self._waiting.update(names)
        if len(self._pending) >= PENDING:
            self._flush()

    def get_scalar(self, key: str) -> HistoryBuffer:
        """Return the history of one scalar; brings over what waits.

        Raises:
            KeyError: if there is no such scalar; says which there are.
        """
        self._flush()
        if key not in self._scalars:
            raise KeyError(f"no scalar {key!r} in the message hub; there are: {', '.join(self._scalars) or 'none yet'}")
        return self._scalars[key]

    @property
    def log_scalars(self) -> dict[str, HistoryBuffer]:
        """Return all histories by name, in the order in which they were first seen; brings over what waits."""
        self._flush()
        return self._scalars

    # -- notes -------------------------------------------------------------------------------------------------------

    def update_info(self, key: str, value: object, resumed: bool = True) -> None:
        """Set a note: any value; where `resumed`, of plain data, since it goes into checkpoints."""
        if self._kept_info.setdefault(key, resumed) is not resumed:
            self._refuse_resumed(key, resumed)
        self._info[key] = value

    def update_info_dict(self, info_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Set several notes."""
        if not isinstance(info_dict, Mapping):
            raise TypeError(f"update_info_dict takes a dict of values by name, not {type(info_dict).__name__}")
        for key, value in info_dict.items():
            self.update_info(key, value, resumed)

    def get_info(self, key: str, default: object = None) -> Any:
        """Return a note, or the default."""
        return self._info.get(key, default)

    def pop_info(self, key: str, default: object = None) -> Any:
        """Return a note, which is then gone, or the default."""
        return self._info.pop(key, default)

    @property
    def runtime_info(self) -> dict[str, Any]:
        """Return all notes by name."""
        return self._info

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the latest values and the notes, as plain numbers, strings, lists and dicts."""
        self._flush()
        scalars = {key: history.data for key, history in self._scalars.items() if self._kept.get(key, True)}
        notes = {key: _plain(value) for key, value in self._info.items() if self._kept_info.get(key, True)}
        lost = sorted(key for key, value in notes.items() if value is _NOT_PLAIN)
        if lost:
            logging.getLogger(__name__).debug("not in checkpoints, since not plain data: %s", ", ".join(lost))
        kept = {key: max(self.state_length, history.asked) for key, history in self._scalars.items()}
        return {
            "log_scalars": {key: values[-kept[key] :].tolist() for key, (values, _) in scalars.items()},
            "log_counts": {
                key: counts[-kept[key] :].tolist() for key, (_, counts) in scalars.items() if (counts != 1).any()
            },
            "log_totals": {key: self._scalars[key].totals for key in scalars},
            "runtime_info": {key: value for key, value in notes.items() if value is not _NOT_PLAIN},
            "resumed_keys": {},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any] | MessageHub) -> None:
        """Take over a state: ours, or that of an MMEngine checkpoint; what cannot be read is left out.

        Args:
            state_dict: a mapping with `log_scalars` and `runtime_info`, or another hub.
        """
        if isinstance(state_dict, MessageHub):
            state_dict = state_dict.state_dict()
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"the state of a message hub is a dict, not {type(state_dict).__name__}")
        self._flush()
        counts, totals = state_dict.get("log_counts", {}), state_dict.get("log_totals", {})
        for key, history in dict(state_dict.get("log_scalars", {})).items():
            values = _history_values(history)
            if values is not None:
                given = counts.get(key, values[1])
                self._scalars[key] = HistoryBuffer(values[0], given, max_length=self.max_length)
                if key in totals:
                    self._scalars[key].take_totals(totals[key])
                self._scalars[key].loaded = self._scalars[key].updates
        self._info.update(state_dict.get("runtime_info", {}))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _announce(self, key: str, resumed: bool) -> None:
        """Give a new scalar its place in the order of the log."""
        if not isinstance(key, str):
            raise TypeError(f"the name of a scalar must be a text, not {key!r}")
        if self._kept.setdefault(key, resumed) is not resumed:
            self._refuse_resumed(key, resumed)
        if key not in self._scalars:
            self._scalars[key] = HistoryBuffer(max_length=self.max_length)

    def _hold_singly(self, names: list[str], tensors: list[torch.Tensor], count: int = 1) -> None:
        """Keep each tensor by itself: of other kinds or shapes than its neighbours, or with a count."""
        for name, tensor in zip(names, tensors, strict=True):
            if tensor.numel() != 1:
                raise ValueError(
                    f"scalar {name!r}: one element is expected, not a tensor of shape {tuple(tensor.shape)}"
                )
            self._pending.append(([name], count, tensor.detach().reshape(1).clone()))
            self._waiting.add(name)
        if len(self._pending) >= PENDING:
            self._flush()

    def _flush(self) -> None:
        """Bring over everything that waits."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        self._waiting.clear()
        numbers = _brought_over([row for _, _, row in pending])
        begin = 0
        for (names, count), rows in itertools.groupby(pending, key=operator.itemgetter(0, 1)):
            steps, width = len(list(rows)), len(names)
            end = begin + steps * width
            for column, name in enumerate(names):
                self._scalars[name].extend(numbers[begin + column : end : width], [count] * steps)
            begin = end

    def _refuse_resumed(self, key: str, resumed: bool) -> None:
        raise ValueError(
            f"{key!r} was first updated with resumed={not resumed}, now with {resumed}: keep to one of them"
        )


def _brought_over(rows: list[torch.Tensor]) -> list[float]:
    """Return the numbers of all rows, one after the other: one transfer for each device and dtype."""
    if len({row.dtype for row in rows}) == 1:
        with contextlib.suppress(RuntimeError):  # they lie on several devices
            return list(map(float, torch.cat(rows).tolist()))
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault((row.device, row.dtype), []).append(index)
    found: list[list[float]] = [[]] * len(rows)
    for indices in groups.values():
        numbers = iter(torch.cat([rows[index] for index in indices]).tolist())
        for index in indices:
            found[index] = [float(next(numbers)) for _ in range(len(rows[index]))]
    return [number for row in found for number in row]


def _number(key: str, value: object) -> float:
    """Return a number, or an array with one element, as a float."""
    if isinstance(value, str | bytes) or value is None:
        raise TypeError(f"scalar {key!r}: a number is expected, not {value!r}")
    size = getattr(value, "size", 1)
    if isinstance(size, int) and size != 1:
        shape = getattr(value, "shape", None)
        raise ValueError(f"scalar {key!r}: one element is expected, not an array of shape {shape}")
    try:
        return float(value.item() if hasattr(value, "item") else value)  # type: ignore[arg-type]  # raises where it is none
    except (TypeError, ValueError) as error:
        raise TypeError(f"scalar {key!r}: a number is expected, not {type(value).__name__}") from error


_NOT_PLAIN: Any = object()


def _plain(value: object) -> Any:
    """Return plain data equal to the value, or the mark for what cannot be plain."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        parts = {str(key): _plain(part) for key, part in value.items()}
        return _NOT_PLAIN if _NOT_PLAIN in parts.values() else parts
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(part) for part in value]
        if any(item is _NOT_PLAIN for item in items):
            return _NOT_PLAIN
        return tuple(items) if isinstance(value, tuple) else items
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return _plain(value.tolist())
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return _NOT_PLAIN


def _history_values(history: object) -> tuple[list[float], list[int]] | None:
    """Return values and counts of a saved history: a list, a mapping, or an object as MMEngine saves it."""
    if isinstance(history, list | tuple):
        return [float(value) for value in history], []
    parts = history if isinstance(history, Mapping) else getattr(history, "__dict__", {})
    values = parts.get("_log_history", parts.get("log_history"))
    counts = parts.get("_count_history", parts.get("count_history"))
    if values is None or counts is None:
        return None
    return [float(value) for value in values], [int(count) for count in counts]
