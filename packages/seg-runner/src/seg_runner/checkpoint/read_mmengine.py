"""Reading files that pickled objects (MMEngine 0.10): builds tensors and plain values, and nothing else."""

from __future__ import annotations

import io
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import numpy as np
import torch

from seg_runner.checkpoint.bounds import check_call, check_key, check_tensor

__all__ = ["UnknownNamesError", "read_restricted"]

KEPT = 10_000
"""Values of a scalar history that are kept."""
_FIXED = (OrderedDict, set, frozenset, complex, slice, torch.Size, torch.device)
_HASHING = (OrderedDict, Counter, set, frozenset)
"""Classes that nobody can set an attribute of."""
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


class UnknownNamesError(ValueError):
    """A file that names what is not built here; its text lists the names."""


def read_restricted(path: Path, mapped: bool) -> Any:
    """Read a pickled checkpoint, with MMEngine's history objects as plain lists of their latest values.

    Nothing named in the file is imported: known names stand for builders in this module, every other name makes the
    file unreadable.

    Raises:
        UnknownNamesError: It names something that is not built here; all else in it was looked at.
        ExcessiveError: It declares more than it can hold.
        Exception: The file is broken.
    """
    kind = _kind(path.stat().st_size)
    module = SimpleNamespace(Unpickler=kind, load=partial(_load, kind), __name__="seg_runner.checkpoint.read_mmengine")
    content = torch.load(path, map_location="cpu", weights_only=False, mmap=mapped, pickle_module=module)
    if kind.unknown:
        raise UnknownNamesError(", ".join(kind.unknown))
    return _plain(content, {})


class _Refused(Exception):
    """A value that is not built."""


_Slow: Any = pickle._Unpickler


class _Restricted(_Slow):  # type: ignore[misc]
    """An unpickler whose names are a fixed table; torch's loader derives from it and adds storages.

    A pickle may set attributes of whatever it was given: it gets throw-away stand-ins of all that could keep them. It
    is the unpickler in Python, since the one in C makes room for whatever number the file gives.
    """

    size = 2**20
    unknown: ClassVar[dict[str, None]]
    dispatch: ClassVar[dict[int, Any]] = dict(_Slow.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Return the builder that stands for this name."""
        if module.startswith("mmengine.") and name.startswith("HistoryBuffer"):
            return type("HistoryBuffer", (_History,), {})
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        found = _builders().get((module, name))
        if found is None:
            self.unknown[f"{module}.{name}"] = None
            return type("_Unknown", (_Unknown,), {"size": self.size, "name": name})
        return found if found in _FIXED else partial(found)


def _reduce(self: _Restricted) -> None:
    """Make a call: its numbers are no sizes beyond the file's, keys that it hashes are looked at."""
    arguments = self.stack[-1]
    function = getattr(self.stack[-2], "func", self.stack[-2])
    if function is not _tensor:  # which looks at its own
        check_call(getattr(function, "__name__", "a function"), arguments, self.size)
    for each in arguments if function in _HASHING else ():
        _check_members(each)
    _Slow.dispatch[pickle.REDUCE[0]](self)


def _storage(self: _Restricted) -> None:
    """Make a storage: in the formats before zip it is made in the size that is declared."""
    pid = self.stack[-1]
    if isinstance(pid, tuple):
        check_call("a storage", (each for each in pid if isinstance(each, int)), self.size)
    _Slow.dispatch[pickle.BINPERSID[0]](self)


def _with_keys(operation: bytes, keys: slice) -> Callable[[Any], None]:
    """Return an operation that hashes values, once these were looked at."""
    plain = _Slow.dispatch[operation[0]]

    def load(self: _Restricted) -> None:
        for key in self.stack[keys]:
            check_key(key)
        plain(self)

    return load


_Restricted.dispatch |= {pickle.REDUCE[0]: _reduce, pickle.BINPERSID[0]: _storage} | {
    operation[0]: _with_keys(operation, keys)
    for operation, keys in (
        (pickle.SETITEM, slice(-2, -1)),
        (pickle.SETITEMS, slice(0, None, 2)),
        (pickle.DICT, slice(0, None, 2)),
        (pickle.ADDITEMS, slice(None)),
        (pickle.FROZENSET, slice(None)),
    )
}


def _check_members(values: object) -> None:
    if not isinstance(values, list | tuple | set | frozenset | dict):
        raise _Refused(f"a set of a {type(values).__name__}")
    for each in values:
        check_key(each)
        if isinstance(each, list) and each:  # a pair, as OrderedDict takes them
            check_key(each[0])


def _kind(size: int) -> type[_Restricted]:
    """Return an unpickler for one file of so many bytes."""
    return type("_Restricted", (_Restricted,), {"size": size, "unknown": {}})


def _load(kind: type[_Restricted], file: IO[bytes], **options: object) -> Any:
    return kind(file, **options).load()


class _Unknown:
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


class _History:
    """Stands for MMEngine's HistoryBuffer: takes any arguments and any state."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.state: Any = {}

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}

    def plain(self) -> dict[str, list[float]]:
        """Return the latest values and their counts."""
        found = {}
        for name in ("log_history", "count_history"):
            values = _plain(self.state.get(f"_{name}", []), {})
            values = values[-KEPT:].tolist() if isinstance(values, torch.Tensor) else list(values)[-KEPT:]
            found[name] = [float(value) for value in values]
        return found


class _Dtype:
    """Stands for numpy.dtype while unpickling."""

    def __init__(self, code: str, *args: object) -> None:
        if not isinstance(code, str) or code.lstrip("<>=|")[:1] not in tuple("biufcSU"):
            raise _Refused(f"a numpy array of dtype {code!r}")
        self.code = code

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        if order in ("<", ">"):
            self.code = order + self.code.lstrip("<>=|")

    @property
    def real(self) -> np.dtype[Any]:
        """Return the dtype itself."""
        return np.dtype(self.code)


class _Array:
    """Stands for a numpy array while unpickling."""

    def __init__(self, *args: object) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple[object, tuple[int, ...], _Dtype, bool, object]) -> None:
        _, shape, dtype, fortran, data = state
        order: Any = "F" if fortran else "C"
        self.value = np.frombuffer(_raw(data), dtype=dtype.real).reshape(shape, order=order).copy()


def _scalar(dtype: _Dtype, data: object = b"") -> Any:
    return np.frombuffer(_raw(data), dtype=dtype.real)[0].item()


def _raw(data: object) -> bytes:
    """Return the bytes of an array; a number would be a size."""
    if not isinstance(data, str | bytes | bytearray):
        raise _Refused(f"an array made of a {type(data).__name__}")
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def _bytearray(*data: object) -> bytearray:
    return bytearray(_raw(data[0])) if data else bytearray()


def _tensor(
    storage: torch.storage.TypedStorage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object
) -> Any:
    """Rebuild a tensor as torch does, once it was seen to lie in its storage."""
    from torch import _utils

    rebuild: Any = _utils._rebuild_tensor_v2 if rest else _utils._rebuild_tensor
    check_tensor(storage._untyped_storage.nbytes() // storage.dtype.itemsize, offset, size, stride)
    return rebuild(storage, offset, size, stride, *rest)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("an encoded text")
    return text.encode("latin1")


class _Nothing:
    """Stands for a function that is not needed (the statistics of a history)."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _builders() -> dict[tuple[str, str], Callable[..., Any]]:
    from torch import _utils

    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): lambda *args: {},
        ("collections", "Counter"): Counter,
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
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
        table |= {(module, kind.__name__): kind for kind in (set, frozenset, complex, slice)}
        table[module, "bytearray"] = _bytearray
    return table


def _plain(value: object, done: dict[int, Any]) -> Any:
    """Return builders as plain values; what occurs twice is looked at once."""
    if id(value) not in done:
        done[id(value)] = _plain_of(value, done)
    return done[id(value)]


def _plain_of(value: object, done: dict[int, Any]) -> Any:
    if isinstance(value, _History):
        return value.plain()
    if isinstance(value, _Array):
        return value.value.tolist() if value.value.dtype.kind in "SU" else torch.from_numpy(value.value)
    if isinstance(value, _Nothing | _Dtype | Counter):
        return value if isinstance(value, Counter) else None
    if isinstance(value, dict):
        return _plain_dict(value, done)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(item if type(item) in _SIMPLE else _plain(item, done) for item in value)
    if value is not None and not isinstance(value, (*_LEAVES, torch.dtype)):
        raise _Refused(f"a {type(value).__name__}")
    return value


def _plain_dict(value: dict[Any, Any], done: dict[int, Any]) -> dict[Any, Any]:
    items = {key: item if type(item) in _SIMPLE else _plain(item, done) for key, item in value.items()}
    if not isinstance(value, OrderedDict):
        return items
    ordered = OrderedDict(items)
    if hasattr(value, "_metadata"):  # torch keeps the versions of modules there
        ordered._metadata = _plain(value._metadata, done)  # type: ignore[attr-defined]
    return ordered


def read_bytes(data: bytes) -> Any:
    """Unpickle bytes under the same rules."""
    kind = _kind(len(data))
    content = _load(kind, io.BytesIO(data))
    if kind.unknown:
        raise UnknownNamesError(", ".join(kind.unknown))
    return _plain(content, {})
