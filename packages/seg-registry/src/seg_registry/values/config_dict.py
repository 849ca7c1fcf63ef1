"""ConfigDict: a dict whose keys are also attributes, and which knows where each value came from."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from seg_registry.errors import ConfigKeyError, LimitError
from seg_registry.suggest import did_you_mean
from seg_registry.values.marked_dict import MAX_DEPTH, DottedName, Marked, MarkedDict
from seg_registry.values.merge import merge_over
from seg_registry.values.origins import NO_MARKS, Chain, chain_of

__all__ = ["WRAPPED_TYPES", "ConfigDict", "adopt", "mark", "to_builtins", "to_config_dict", "wrap"]


class ConfigDict(Marked):
    """A config, or a part of one: a dict with attribute access, deep wrapping, and origins.

    A miss names the nearest keys. A key named like a method (`items`) is reached by item only.

    >>> cfg = ConfigDict(model=dict(type="UNet", depth=4))
    >>> cfg.model.depth
    4
    >>> (cfg | dict(model=dict(depth=5))).to_dict()
    {'model': {'type': 'UNet', 'depth': 5}}
    """

    __slots__ = ("_path_",)
    _path_: str

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        source = args[0] if args and isinstance(args[0], Marked) else None
        _set_marks(self, NO_MARKS if source is None else source._marks_)
        _set_file(self, "" if source is None else source._file_)
        _set_path(self, getattr(source, "_path_", ""))
        for key, value in self.items():
            if type(value) in WRAPPED_TYPES:
                dict.__setitem__(self, key, wrap(value, key))

    def __missing__(self, key: object) -> Any:
        raise ConfigKeyError(self._miss(key))

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return dict.__getitem__(self, name)
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(self._miss(name))

    def _miss(self, key: object) -> str:
        where = f"in '{self._path_}' of this config" if getattr(self, "_path_", "") else "in this config"
        return f"no key {key!r} {where}; {did_you_mean(key, self)}".rstrip("; ")

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"{name!r} is a method of ConfigDict; write cfg[{name!r}] = ... for the key")
        _assign(self, name, value)

    def __setitem__(self, key: object, value: object) -> None:
        _assign(self, key, value)

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"no key {name!r} to delete; {did_you_mean(name, self)}")
        del self[name]

    def __dir__(self) -> Iterator[str]:
        yield from super().__dir__()
        yield from (key for key in self if isinstance(key, str))

    def pop(self, key: object, *default: object) -> Any:
        """Remove a key and return its value; a missing key is an error unless a default is given."""
        if key not in self and not default:
            self.__missing__(key)
        return dict.pop(self, key, *default)

    def setdefault(self, key: object, default: object = None) -> Any:
        """Return the value of a key, which is first set to `default` (wrapped) where it is missing."""
        if key not in self:
            _assign(self, key, default)
        return dict.__getitem__(self, key)

    def update(self, /, *args: Any, **kwargs: Any) -> None:
        """Take over keys; a dict over a dict is updated key by key, everything else is replaced."""
        other = args[0] if args and isinstance(args[0], Marked) and not kwargs else dict(*args, **kwargs)
        for key, value in other.items():
            old = self.get(key)
            if isinstance(old, ConfigDict) and isinstance(value, dict):
                old.update(value)
            else:
                _assign(self, key, value, chain_of(other, key))

    def merge(self, other: Mapping[Any, Any]) -> None:
        """Merge as a child config is merged over its base: `_delete_` is honoured, lists are replaced."""
        result = to_config_dict(merge_over(ConfigDict(other), self), self._path_)
        dict.clear(self)
        dict.update(self, result)
        _set_marks(self, result._marks_)

    def __or__(self, other: object) -> ConfigDict:
        if not isinstance(other, Mapping):
            return NotImplemented
        result = self.__deepcopy__({})
        result.update(other)
        return result

    def __ror__(self, other: object) -> ConfigDict:
        return ConfigDict(other) | self if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: object) -> ConfigDict:
        self.update(other)
        return self

    def copy(self) -> ConfigDict:
        """Return a shallow copy, origins included."""
        return _rebuild(self, self._marks_, self._file_, self._path_)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> ConfigDict:
        from copy import deepcopy

        items = {key: deepcopy(value, memo) for key, value in self.items()}
        return _rebuild(items, self._marks_, self._file_, self._path_)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return _rebuild, (dict(self), self._marks_, self._file_, self._path_)

    def to_dict(self) -> dict[Any, Any]:
        """Return the same as plain dicts, lists and tuples, for anything that knows no ConfigDict."""
        return {key: to_builtins(value) for key, value in self.items()}


# A ConfigDict turns `table.name = value` into a key, so its own slots are set past it.
_set_marks: Callable[[Marked, dict[Any, Any]], None] = vars(Marked)["_marks_"].__set__
_set_file: Callable[[Marked, str], None] = vars(Marked)["_file_"].__set__
_set_path: Callable[[ConfigDict, str], None] = vars(ConfigDict)["_path_"].__set__
WRAPPED_TYPES = frozenset({dict, OrderedDict, MarkedDict, ConfigDict, list, tuple, set, bytearray, DottedName})


def mark(table: ConfigDict, key: object, chain: Chain) -> None:
    """Set the chain of one key, leaving shared marks alone."""
    _set_marks(table, {**table._marks_, key: chain})


def _assign(table: ConfigDict, key: object, value: object, chain: Chain = ()) -> None:
    if type(value) in WRAPPED_TYPES:
        value = wrap(value, key if not table._path_ else f"{table._path_}.{key}")
    dict.__setitem__(table, key, value)
    if not chain:
        frame = sys._getframe(2)  # whoever wrote `cfg.x = ...`: this function's caller is a method of ConfigDict
        chain = ((frame.f_code.co_filename, frame.f_lineno),)
    mark(table, key, (*chain_of(table, key), *chain))


def _rebuild(items: dict[Any, Any], marks: dict[Any, Any], file: str, path: str) -> ConfigDict:
    result = ConfigDict.__new__(ConfigDict)
    dict.update(result, items)
    _set_marks(result, marks)
    _set_file(result, file)
    _set_path(result, path)
    return result


def to_config_dict(table: dict[Any, Any], path: str = "", depth: int = 0) -> ConfigDict:
    """Return a dict as a ConfigDict of its own: all in it that can be changed is copied, marks are shared."""
    result = _rebuild(table, getattr(table, "_marks_", NO_MARKS), getattr(table, "_file_", ""), path)
    prefix = path and path + "."
    for key, value in table.items():
        if type(value) in WRAPPED_TYPES:
            dict.__setitem__(result, key, wrap(value, f"{prefix}{key}", depth + 1))
    return result


def wrap(value: Any, path: object = "", depth: int = 0) -> Any:
    """Return a value with plain dicts turned into ConfigDicts and all else that can be changed copied, all the way."""
    kind = type(value)
    if depth > MAX_DEPTH:
        raise LimitError(f"values are nested more than {MAX_DEPTH} deep at '{str(path)[:60]}...'")
    if kind is list or kind is tuple:
        deeper = depth + 1
        items = [
            wrap(each, f"{path}.{i}", deeper) if type(each) in WRAPPED_TYPES else each for i, each in enumerate(value)
        ]
        return items if kind is list else tuple(items)
    if kind is DottedName:
        return str(value)
    if kind is set or kind is bytearray:
        return value.copy()
    return to_config_dict(value, str(path), depth) if kind in WRAPPED_TYPES else value


def adopt(value: object) -> Any:
    """Return a value as a ConfigDict takes it in: dicts, lists and tuples are copied, a ConfigDict stays itself."""
    if isinstance(value, ConfigDict):
        return value
    if type(value) is list or type(value) is tuple:
        return type(value)([adopt(each) for each in value])
    if type(value) in WRAPPED_TYPES and isinstance(value, dict):
        items = {key: adopt(each) for key, each in value.items()}
        return _rebuild(items, getattr(value, "_marks_", NO_MARKS), getattr(value, "_file_", ""), "")
    return value


def to_builtins(value: object) -> Any:
    """Return a value with every ConfigDict turned into a plain dict."""
    if isinstance(value, dict):
        return {key: to_builtins(each) for key, each in value.items()}
    if type(value) is list or type(value) is tuple:
        return type(value)([to_builtins(each) for each in value])
    if type(value) is set or type(value) is bytearray:
        return value.copy()
    return str(value) if type(value) is DottedName else value
