"""Putting overrides into a config: dotted keys, list elements, appending, deleting, and near-name checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from seg_registry.errors import ConfigKeyError, ConfigTypeError, OverrideError
from seg_registry.overrides.known_keys import is_known_key
from seg_registry.overrides.parse_options import DELETE, split_key
from seg_registry.overrides.where_used import find_uses
from seg_registry.suggest import did_you_mean, edit_distance
from seg_registry.values.config_dict import ConfigDict, mark, wrap
from seg_registry.values.marked_dict import MISSING, is_index
from seg_registry.values.origins import OVERRIDE, Chain, chain_of

__all__ = ["apply"]


def apply(table: ConfigDict, options: Mapping[str, Any], *, allow_list_keys: bool, strict: bool, source: str) -> None:
    """Put every option into the config: first composed into one tree of changes, then merged like a child config."""
    changes: Changes = {}
    for key, value in options.items():
        if not str(key).startswith("+"):
            _add_option(changes, str(key), value, source)
    _Applier(allow_list_keys, strict, plus=False).change_table(table, changes, "")
    for key, value in options.items():
        if str(key).startswith("+"):
            change: Changes = {}
            _add_option(change, str(key), value, source)
            _Applier(allow_list_keys, strict, plus=True).change_table(table, change, "")
    _warn_of_late_overrides({split_key(str(key).removeprefix("+"))[0] for key in options}, table, options)


class _NewValue:
    """A value that an option sets, and the chain that tells of it."""

    __slots__ = ("chain", "key", "value")

    def __init__(self, value: object, key: str, source: str) -> None:
        self.value = value
        self.key = key
        shown = "_delete_" if value is DELETE else repr(value)
        self.chain: Chain = ((OVERRIDE, 0, f"{key}={shown}" + (f" ({source})" if source else "")),)


Changes: TypeAlias = "dict[Any, _NewValue | Changes]"
"""The tree of what is to be changed, keys as in the config."""


def _add_option(tree: Changes, key: str, value: object, source: str) -> None:
    """Put one option into the tree of changes; a later one replaces an earlier one."""
    steps = split_key(key.removeprefix("+"))
    for step in steps[:-1]:
        below = tree.setdefault(step, {})
        if isinstance(below, _NewValue):
            raise OverrideError(
                f"{key!r} sets a key inside {below.key!r}, but another option sets that to {below.value!r}"
            )
        tree = below
    tree[steps[-1]] = _as_change(value, key, source)


def _as_change(value: object, key: str, source: str) -> _NewValue | Changes:
    if isinstance(value, Mapping):
        return {each: _as_change(inner, f"{key}.{each}", source) for each, inner in value.items()}
    return _NewValue(value, key, source)


def _create(change: _NewValue | Changes, path: str) -> object:
    """Return the value that a change sets where there was none."""
    if isinstance(change, _NewValue):
        return wrap(change.value, path)
    result = ConfigDict()
    for key, each in change.items():
        if isinstance(each, _NewValue) and each.value is DELETE:
            continue
        dict.__setitem__(result, key, _create(each, f"{path}.{key}"))
        mark(result, key, _chain(each))
    return result


def _first(change: _NewValue | Changes | None) -> _NewValue | None:
    """Return the first value that a tree of changes sets; None for an empty one."""
    while isinstance(change, dict):
        change = next(iter(change.values()), None)
    return change


def _chain(change: _NewValue | Changes) -> Chain:
    first = _first(change)
    return first.chain if first else ()


def _deletes(change: Changes) -> bool:
    delete = change.get("_delete_")
    return isinstance(delete, _NewValue) and bool(delete.value)


class _Applier:
    """Walks a tree of changes into a config; `plus` says that the options begin with `+`: append, or add a new key."""

    def __init__(self, allow_list_keys: bool, strict: bool, *, plus: bool) -> None:
        self.allow_list_keys = allow_list_keys
        self.strict = strict
        self.plus = plus

    def change_table(self, table: dict[Any, Any], changes: Changes, path: str) -> None:
        """Merge changes into a dict, in place."""
        for key, change in changes.items():
            if key == "_delete_" and path:
                continue
            step = _key_in(table, key)
            here = f"{path}.{step}" if path else str(step)
            if isinstance(change, _NewValue) and change.value is DELETE:
                _delete(table, step, here)
                continue
            old = table.get(step, MISSING)
            if old is MISSING:
                self._check_new_key(table, step, path, change)
            new = self._new_value(old, change, here)
            dict.__setitem__(table, step, new)
            if isinstance(table, ConfigDict) and (new is not old or not isinstance(new, dict)):
                mark(table, step, chain_of(table, step) + _chain(change))

    def _new_value(self, old: object, change: _NewValue | Changes, path: str) -> object:
        """Return what comes into the place of `old`: itself, changed, where changes meet a dict or a list."""
        if isinstance(change, _NewValue):
            if self.plus and isinstance(old, list | tuple):
                more = change.value if isinstance(change.value, list) else [change.value]
                return type(old)([*old, *wrap(more, path)])
            return wrap(change.value, path)
        if old is MISSING:
            return _create(change, path)
        if _deletes(change):
            return _create({key: each for key, each in change.items() if key != "_delete_"}, path)
        if isinstance(old, dict):
            self.change_table(old, change, path)
            return old
        if isinstance(old, list | tuple):
            return self._change_list(old, change, path)
        raise ConfigTypeError(f"cannot set keys of {path!r}: it is {old!r} ({type(old).__name__}), not a dict or list")

    def _change_list(self, old: list[Any] | tuple[Any, ...], changes: Changes, path: str) -> object:
        if not self.allow_list_keys:
            raise ConfigTypeError(f"cannot set elements of {path!r}: it is a list, and allow_list_keys is False")
        items, gone = list(old), []
        for key, change in changes.items():
            index = _index_in(old, key, path)
            if isinstance(change, _NewValue) and change.value is DELETE:
                gone.append(index % len(old))
            else:
                items[index] = self._new_value(items[index], change, f"{path}.{key}")
        kept = [each for index, each in enumerate(items) if index not in gone]
        if isinstance(old, tuple):
            return tuple(kept)
        old[:] = kept
        return old

    def _check_new_key(self, table: dict[Any, Any], key: object, path: str, change: _NewValue | Changes) -> None:
        """Refuse, on the command line, a new key that looks like an existing one; report any other."""
        if self.plus:
            return
        where = f" in {path!r}" if path else ""
        first = _first(change)
        full = first.key if first else key
        near = [each for each in table if _looks_like(key, each)]
        nothing = isinstance(change, _NewValue) and change.value is None
        if near and not nothing and not is_known_key(table, key, top=not path):
            message = f"no key {key!r}{where}; did you mean {near[0]!r}? If you want to add the new key: +{full}=..."
            if self.strict:
                raise OverrideError(message)
            _warn(message)
        else:
            _warn(f"new key {key!r}{where}, set by {full!r}")


def _delete(table: dict[Any, Any], key: object, path: str) -> None:
    if key not in table:
        raise ConfigKeyError(f"there is no key {path!r} to delete; {did_you_mean(key, table)}")
    dict.__delitem__(table, key)


def _index_in(values: list[Any] | tuple[Any, ...], step: object, path: str) -> int:
    text = str(step)
    if not is_index(text):
        raise ConfigTypeError(f"cannot set '{path}.{text}': {path!r} is a list, and {step!r} is not an index")
    if not -len(values) <= int(text) < len(values):
        raise ConfigKeyError(
            f"cannot set '{path}.{text}': {path!r} has {len(values)} elements; +{path}=... appends to it"
        )
    return int(text)


def _key_in(table: dict[Any, Any], step: Any) -> object:
    """Return the key that a step means: a whole number where the dict has that and no such string."""
    if step not in table and is_index(step) and int(step) in table:
        return int(step)
    return step


def _looks_like(key: object, other: object) -> bool:
    if not isinstance(key, str) or not isinstance(other, str):
        return False
    distance = edit_distance(key, other)
    return 0 < distance <= 2 and distance < min(len(key), len(other))


def _warn_of_late_overrides(names: set[str], table: ConfigDict, options: Mapping[str, Any]) -> None:
    """Say where an overridden variable had been used already, so that nobody waits for an effect that cannot come."""
    for name in sorted(names):
        kept = [path for path in find_uses(table, name) if not any(path in str(key) for key in options)]
        if kept:
            more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
            shown = ", ".join(map(repr, kept[:3])) + more
            _warn(f"{name!r} was used before this override, which leaves these values unchanged: {shown}")


def _warn(message: str) -> None:
    import logging

    logging.getLogger("seg_registry").warning(message)
