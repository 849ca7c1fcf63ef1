"""A model that a checkpoint describes is no larger than its file is worth: held to that while it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["ModelBounds", "TooLargeError"]

TIMES, ROOM = 16, 2**28
"""How many bytes the tensors of a model may take while it is built, passing ones too: times the file's, and more."""
EACH, FEW = 100, 20_000
"""How many operations that may take: for each tensor in the file, and more. A layer takes about five for a tensor."""


class TooLargeError(ValueError):
    """A config that describes a larger model than the weights beside it."""


class ModelBounds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, tensors are counted before they are made; random numbers and values stay as they are.

    Args:
        size: Bytes of the file.
        tensors: How many tensors it holds.

    Raises:
        TooLargeError: In whatever makes a tensor beyond the bounds; no memory was taken for it.

    >>> with ModelBounds(size=1000, tensors=2):
    ...     tuple(torch.nn.Linear(3, 2).weight.shape)  # one of 200 000 x 200 000 would be refused
    (2, 3)
    """

    def __init__(self, size: int, tensors: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._size, self._tensors = size, tensors
        self._bytes_left, self._steps_left = TIMES * size + ROOM, EACH * tensors + FEW

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch not to wrap the next method: the wrapper imports all of torch.compile, two seconds for nothing."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count an operation, and carry it out."""
        kwargs = kwargs or {}
        self._spend(0, 1)
        if func.is_view or func._schema.is_mutable:
            return func(*args, **kwargs)
        expected = _bytes_of_result(func, args, kwargs)
        self._spend(expected or 0, 0)
        result = func(*args, **kwargs)
        if expected is None:
            self._spend(_bytes(result), 0)
        return result

    def _spend(self, size: int, steps: int) -> None:
        self._bytes_left -= size
        self._steps_left -= steps
        if self._bytes_left < 0 or self._steps_left < 0:
            raise TooLargeError(
                f"the config describes a model larger than the weights in the file ({self._size:,} bytes, "
                f"{self._tensors:,} tensors), so it was not built; where the file is your own, give --trust-config "
                "(load_model: trust=True)"
            )


def _bytes_of_result(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """Tell how large a result would be, found on the device without memory; None where that cannot tell."""
    there = {name: _on_meta(value) for name, value in kwargs.items() if name != "pin_memory"}
    if any(each.name == "device" for each in func._schema.arguments):
        there["device"] = torch.device("meta")
    try:
        return _bytes(func(*map(_on_meta, args), **there))
    except (RuntimeError, TypeError, ValueError):  # it depends on values, or is wrong, which the real one says
        return None


def _on_meta(value: object) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return [_on_meta(each) for each in value] if isinstance(value, list | tuple) else value


def _bytes(result: object) -> int:
    return sum(each.nbytes for each in _tensors(result) if each.layout is torch.strided)


def _tensors(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for each in result:
            yield from _tensors(each)
