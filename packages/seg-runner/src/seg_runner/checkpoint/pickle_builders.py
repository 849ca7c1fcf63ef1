"""What the names in a pickle stand for: throw-away objects that take what the file gives, and become plain values."""

from __future__ import annotations

import datetime
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import _utils

from seg_runner.checkpoint.bounds import check_call, check_tensor
from seg_runner.checkpoint.plain_objects import FUNCTIONS, Fields, RefusedError, Text

__all__ = ["BUILDERS", "History", "RefusedError", "Unknown", "plain_values", "rebuild_tensor"]

KEPT = 10_000
"""Values of a scalar history that are kept."""
_SIMPLE = frozenset({int, float, bool, str, bytes, type(None)})
_LEAVES = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    set,
    frozenset,
    slice,
    torch.Tensor,
    torch.Size,
    torch.device,
)


class Unknown:
    """Stands for what is not built: takes whatever a file does to it, so that the rest of the file can be looked at."""

    size = 2**20
    name = ""
    dtype = torch.uint8  # where it stands for a kind of storage

    def __init__(self, *args: object, **kwargs: object) -> None:
        check_call(self.name, args, self.size)

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Do nothing."""

    def extend(self, values: object) -> None:
        """Do nothing."""

    add = append


class History:
    """Stands for MMEngine's HistoryBuffer: takes any arguments and any state."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.state: Any = {}

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}

    def plain(self) -> dict[str, list[float]]:
        """Return the latest values and their counts."""
        found = {}
        for name in ("log_history", "count_history"):
            values = plain_values(self.state.get(f"_{name}", []))
            values = values[-KEPT:].tolist() if isinstance(values, torch.Tensor) else list(values)[-KEPT:]
            found[name] = [float(value) for value in values]
        return found


class Dtype:
    """Stands for numpy.dtype while unpickling."""

    def __init__(self, code: str, *args: object) -> None:
        if not isinstance(code, str) or code.lstrip("<>=|")[:1] not in tuple("biufcSU"):
            raise RefusedError(f"a numpy array of dtype {code!r}")
        self.code = code

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        if order in ("<", ">"):
            self.code = order + self.code.lstrip("<>=|")

    @property
    def real(self) -> np.dtype[Any]:
        """Return the dtype itself."""
        return np.dtype(self.code)


class Array:
    """Stands for a numpy array while unpickling."""

    def __init__(self, *args: object) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple[object, tuple[int, ...], Dtype, bool, object]) -> None:
        _, shape, dtype, fortran, data = state
        order: Any = "F" if fortran else "C"
        self.value = np.frombuffer(_raw(data), dtype=dtype.real).reshape(shape, order=order).copy()


def _scalar(dtype: Dtype, data: object = b"") -> Any:
    return np.frombuffer(_raw(data), dtype=dtype.real)[0].item()


def _raw(data: object) -> bytes:
    """Return the bytes of an array; a number would be a size."""
    if not isinstance(data, str | bytes | bytearray):
        raise RefusedError(f"an array made of a {type(data).__name__}")
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def _bytearray(*data: object) -> bytearray:
    return bytearray(_raw(data[0])) if data else bytearray()


def rebuild_tensor(
    storage: torch.storage.TypedStorage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object
) -> Any:
    """Rebuild a tensor as torch does, once it was seen to lie in its storage."""
    rebuild: Any = _utils._rebuild_tensor_v2 if rest else _utils._rebuild_tensor
    check_tensor(storage._untyped_storage.nbytes() // storage.dtype.itemsize, offset, size, stride)
    return rebuild(storage, offset, size, stride, *rest)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("an encoded text")
    return text.encode("latin1")


class Nothing:
    """Stands for a function that is not needed (the statistics of a history)."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _builders() -> dict[tuple[str, str], Callable[..., Any]]:
    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): lambda *args: {},
        ("collections", "Counter"): Counter,
        ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _utils._rebuild_parameter,
        ("torch", "Size"): torch.Size,
        ("torch", "device"): torch.device,
        ("_codecs", "encode"): _encode,
        ("numpy", "dtype"): Dtype,
        ("numpy", "ndarray"): Array,
    }
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[core, "scalar"] = _scalar
        table[core, "_reconstruct"] = Array
    for module in ("builtins", "__builtin__"):
        table[module, "getattr"] = Nothing
        table |= {(module, kind.__name__): kind for kind in (set, frozenset, complex, slice)}
        table[module, "bytearray"] = _bytearray
    return table | FUNCTIONS


BUILDERS = _builders()
"""What stands for a name, by its module and itself."""


def plain_values(content: object) -> Any:
    """Return what was unpickled as tensors and plain values: MMEngine's histories as lists, arrays as tensors.

    Raises:
        RefusedError: There is something else in it.
    """
    return _plain(content, {})


def _plain(value: object, done: dict[int, Any]) -> Any:
    """Return builders as plain values; what occurs twice is looked at once."""
    if id(value) not in done:
        done[id(value)] = _plain_of(value, done)
    return done[id(value)]


def _plain_of(value: object, done: dict[int, Any]) -> Any:
    if isinstance(value, History):
        return value.plain()
    if isinstance(value, Fields):
        return _plain(value.plain(), done)
    if isinstance(value, Text | datetime.timezone):
        return str(value)
    if isinstance(value, Array):
        return value.value.tolist() if value.value.dtype.kind in "SU" else torch.from_numpy(value.value)
    if isinstance(value, Nothing | Dtype | Counter):
        return value if isinstance(value, Counter) else None
    if isinstance(value, dict):
        return _plain_dict(value, done)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(item if type(item) in _SIMPLE else _plain(item, done) for item in value)
    if value is not None and not isinstance(value, (*_LEAVES, torch.dtype)):
        raise RefusedError(f"a {type(value).__name__}")
    return value


def _plain_dict(value: dict[Any, Any], done: dict[int, Any]) -> dict[Any, Any]:
    items = {key: item if type(item) in _SIMPLE else _plain(item, done) for key, item in value.items()}
    if not isinstance(value, OrderedDict):
        return items
    ordered = OrderedDict(items)
    if hasattr(value, "_metadata"):  # torch keeps the versions of modules there
        ordered._metadata = _plain(value._metadata, done)  # type: ignore[attr-defined]
    return ordered
