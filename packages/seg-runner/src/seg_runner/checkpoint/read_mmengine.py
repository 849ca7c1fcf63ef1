"""Reading files that pickled objects (MMEngine 0.10): builds tensors and plain values, and nothing else."""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import torch

from seg_runner.checkpoint.bounds import check_call, check_key
from seg_runner.checkpoint.pickle_builders import BUILDERS, History, RefusedError, Unknown, plain_values, rebuild_tensor
from seg_runner.checkpoint.plain_objects import KINDS

__all__ = ["UnknownNamesError", "read_restricted"]

_FIXED = (OrderedDict, set, frozenset, complex, slice, torch.Size, torch.device)
"""Classes that nobody can set an attribute of."""
_HASHING = (OrderedDict, Counter, set, frozenset)


class UnknownNamesError(ValueError):
    """A file that names what is not built here; its text lists the names."""


def read_restricted(path: Path, mapped: bool) -> Any:
    """Read a pickled checkpoint, with MMEngine's history objects as plain lists of their latest values.

    Nothing named in the file is imported: known names stand for builders of ours, every other name makes the
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
    return plain_values(content)


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
            return type("HistoryBuffer", (History,), {})
        if (module, name) in KINDS:
            return type(name, (KINDS[module, name],), {"__slots__": ()})
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        found = BUILDERS.get((module, name))
        if found is None:
            self.unknown[f"{module}.{name}"] = None
            return type("_Unknown", (Unknown,), {"size": self.size, "name": name})
        return found if found in _FIXED else partial(found)


def _reduce(self: _Restricted) -> None:
    """Make a call: its numbers are no sizes beyond the file's, keys that it hashes are looked at."""
    arguments = self.stack[-1]
    function = getattr(self.stack[-2], "func", self.stack[-2])
    if function is not rebuild_tensor:  # which looks at its own
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
        raise RefusedError(f"a set of a {type(values).__name__}")
    for each in values:
        check_key(each)
        if isinstance(each, list) and each:  # a pair, as OrderedDict takes them
            check_key(each[0])


def _kind(size: int) -> type[_Restricted]:
    """Return an unpickler for one file of so many bytes."""
    return type("_Restricted", (_Restricted,), {"size": size, "unknown": {}})


def _load(kind: type[_Restricted], file: IO[bytes], **options: object) -> Any:
    return kind(file, **options).load()
