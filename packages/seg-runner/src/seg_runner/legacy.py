"""Reading files that pickled objects (MMEngine 0.10): builds tensors and plain values, and nothing else."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

__all__ = ["read_restricted"]

KEPT = 10_000
"""Values of a scalar history that are kept."""
_FIXED = (OrderedDict, set, frozenset, bytearray, complex, slice, torch.Size, torch.device)
"""Classes that nobody can set an attribute of."""
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


def read_restricted(path: Path, mapped: bool) -> Any:
    """What a pickled checkpoint holds, with MMEngine's history objects as plain lists of their latest values.

    Nothing named in the file is imported: known names stand for builders in this module, every other name makes the
    file unreadable.

    Raises:
        CheckpointError: The file is broken, or names something that is not built here.
    """
    from seg_runner.checkpoint import CheckpointError

    module = SimpleNamespace(Unpickler=_Restricted, load=_load, __name__="seg_runner.legacy")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, mmap=mapped, pickle_module=module)
        return _plain(content)
    except _Refused as error:
        raise CheckpointError(
            f"{path} holds {error}, which is neither a tensor nor a plain value; reading it could run code. "
            f"If you trust the file, read it with unsafe=True"
        ) from error
    except Exception as error:  # whatever a damaged file leads to
        raise CheckpointError(f"{path} cannot be read: {str(error) or type(error).__name__}") from error


class _Refused(Exception):
    """A global that is not built."""


class _Restricted(pickle.Unpickler):
    """An unpickler whose names are a fixed table; torch's loader derives from it and adds storages.

    A pickle may set attributes of whatever it was given: it gets throw-away stand-ins of all that could keep them.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The builder that stands for this name."""
        if module.startswith("mmengine.") and name.startswith("HistoryBuffer"):
            return type("HistoryBuffer", (_History,), {})
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        found = _builders().get((module, name))
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found if found in _FIXED else partial(found)


def _load(file: Any, **options: Any) -> Any:
    return _Restricted(file, **options).load()


class _History:
    """Stands for MMEngine's HistoryBuffer: takes any arguments and any state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def plain(self) -> dict[str, list[float]]:
        """The latest values and their counts."""
        found = {}
        for name in ("log_history", "count_history"):
            values = _plain(self.state.get(f"_{name}", []))
            values = values[-KEPT:].tolist() if isinstance(values, torch.Tensor) else list(values)[-KEPT:]
            found[name] = [float(value) for value in values]
        return found


class _Dtype:
    """Stands for numpy.dtype while unpickling."""

    def __init__(self, code: str, *args: Any) -> None:
        if not isinstance(code, str) or code.lstrip("<>=|")[:1] not in tuple("biufcSU"):
            raise _Refused(f"a numpy array of dtype {code!r}")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        if order in ("<", ">"):
            self.code = order + self.code.lstrip("<>=|")

    @property
    def real(self) -> np.dtype[Any]:
        """The dtype itself."""
        return np.dtype(self.code)


class _Array:
    """Stands for a numpy array while unpickling."""

    def __init__(self, *args: Any) -> None:
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        order: Any = "F" if fortran else "C"
        self.value = np.frombuffer(bytes(data), dtype=dtype.real).reshape(shape, order=order).copy()


def _scalar(dtype: _Dtype, data: Any = b"") -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    return np.frombuffer(raw, dtype=dtype.real)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("an encoded text")
    return text.encode("latin1")


class _Nothing:
    """Stands for a function that is not needed (the statistics of a history)."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _builders() -> dict[tuple[str, str], Callable[..., Any]]:
    from torch import _utils

    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): lambda *args: {},
        ("torch._utils", "_rebuild_tensor"): _utils._rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _utils._rebuild_tensor_v2,
        ("torch._utils", "_rebuild_parameter"): _utils._rebuild_parameter,
        ("torch", "Size"): torch.Size,
        ("torch", "device"): torch.device,
        ("_codecs", "encode"): _encode,
        ("numpy", "dtype"): _Dtype,
        ("numpy", "ndarray"): _Array,
    }
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[core, "scalar"] = _scalar
        table[core, "_reconstruct"] = _Array
    for module in ("builtins", "__builtin__"):
        table[module, "getattr"] = _Nothing
        table |= {(module, kind.__name__): kind for kind in (set, frozenset, bytearray, complex, slice)}
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, _History):
        return value.plain()
    if isinstance(value, _Array):
        return value.value.tolist() if value.value.dtype.kind in "SU" else torch.from_numpy(value.value)
    if isinstance(value, _Nothing | _Dtype):
        return None
    if isinstance(value, OrderedDict):
        return OrderedDict((key, _plain(item)) for key, item in value.items())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    if value is not None and not isinstance(value, (*_LEAVES, torch.dtype)):
        raise _Refused(f"a {type(value).__name__}")
    return value


def read_bytes(data: bytes) -> Any:
    """Unpickle bytes under the same rules."""
    return _plain(_Restricted(io.BytesIO(data)).load())
