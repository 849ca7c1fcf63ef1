"""A stand-in for CUDA graphs on any device: the operations of a function written down, and done again in place.

Like a graph it runs none of the function's Python again, reads and writes the same memory, and cannot wait for a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

__all__ = ["RecordedOperations"]

Result = TypeVar("Result")
WAITING = (
    "aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero", "aten::masked_select",
    "aten::unique", "aten::_unique2", "aten::bincount",
)  # fmt: skip
"""What makes the host wait for a value, or for how many there are."""


class RecordedOperations:
    """Takes the place of `DeviceGraphs`."""

    def warm(self, function: Callable[[], Result]) -> Result:
        """Run a function in the ordinary way."""
        return function()

    def capture(self, function: Callable[[], Result]) -> tuple[Result, Callable[[], Any]]:
        """Run a function once and write its operations down; see `DeviceGraphs.capture`."""
        with _Recorder() as recorder:
            result = function()
        return result, recorder.repeat


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is not annotated
    """Writes down what is done to tensors, below autograd and autocast."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[tuple[Any, Any, Any, list[tuple[int, torch.Tensor]]]] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _refuse_waits(op, args)
        result = op(*args, **kwargs)
        new = [(place, one) for place, one in _listed(result) if not _is_alias(op, place)]
        if new or op._schema.is_mutable:  # else it only looks at the same memory in another way
            # lists are copied: a caller may go on filling its own
            self._calls.append((op, tree_map(_same, args), tree_map(_same, kwargs), new))
        return result

    @torch.no_grad()
    def repeat(self) -> None:
        """Do it all again, into the same tensors."""
        for op, args, kwargs, new in self._calls:
            again = dict(_listed(op(*args, **kwargs)))
            for place, one in new:
                one.copy_(again[place])


def _same(value: Any) -> Any:
    return value


def _refuse_waits(op: Any, args: Any) -> None:
    name = op.name()
    masks = isinstance(args[-1], list | tuple) and name.startswith("aten::index") if args else False
    if name.startswith(WAITING) or (masks and any(_is_mask(one) for one in args[1])):
        raise RuntimeError(f"{name}: the host would wait for a value on the device, which no graph can")


def _is_mask(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.bool, torch.uint8)


def _listed(result: Any) -> Iterable[tuple[int, torch.Tensor]]:
    """Yield the tensors that an operator returns, numbered; those of a list count as one after the other."""
    values = result if isinstance(result, list | tuple) else [result]
    return [(place, one) for place, one in enumerate(values) if isinstance(one, torch.Tensor)]


def _is_alias(op: Any, place: int) -> bool:
    """Tell whether what an operator returns at a place is memory that was there before."""
    returns = op._schema.returns
    return returns[min(place, len(returns) - 1)].alias_info is not None
