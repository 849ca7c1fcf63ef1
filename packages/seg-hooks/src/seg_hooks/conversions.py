"""Numbers and tensors as plain values of Python, which a log and JSON can take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_float", "as_number", "is_builtin", "is_readable", "to_json"]


def as_number(value: object) -> int | float | None:
    """Return a real number of Python, numpy, or a tensor or array with one element on any device; None for all else.

    Example:
        >>> as_number(torch.tensor([2.5], requires_grad=True)), as_number("3"), as_number(1j)
        (2.5, None, None)
    """
    if isinstance(value, int | float):
        return value
    if isinstance(value, Real | Decimal):
        return as_float(value)
    if isinstance(value, Tensor):
        return as_number(value.item()) if value.numel() == 1 and is_readable(value) else None
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "size", None) == 1:
        inside = item()
        return None if type(inside) is type(value) else as_number(inside)
    return None


def as_float(value: Real | Decimal | int | float) -> float:
    """Return a real number of any kind, infinite where a float cannot hold it."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if abs(value) == value else -math.inf
    except ValueError:  # a Decimal's signalling NaN
        return math.nan


def is_readable(tensor: Tensor) -> bool:
    """Tell whether the elements of a tensor are there and real numbers."""
    return tensor.layout == torch.strided and not tensor.is_complex() and not tensor.is_meta


def is_builtin(value: object) -> bool:
    """Tell whether a value may stand in a checkpoint: numbers, text, None, and lists and dicts of these."""
    if isinstance(value, Mapping):
        return type(value) is dict and all(isinstance(key, str) and is_builtin(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(is_builtin, value))
    return value is None or type(value) in (bool, int, float, str)


def to_json(value: object) -> Any:
    """Return `value` as JSON can hold it: numbers that are not finite become None, what is no number its text.

    Example:
        >>> to_json({"loss": float("nan"), "IoU": [0.5]})
        {'loss': None, 'IoU': [0.5]}
    """
    if isinstance(value, Mapping):
        return {str(name): to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if value is None or isinstance(value, bool | str | int):
        return value
    if (tolist := getattr(value, "tolist", None)) is not None:
        return to_json(tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
