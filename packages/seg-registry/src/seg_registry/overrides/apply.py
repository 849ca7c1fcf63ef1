"""Putting overrides into a config: dotted keys, list elements, appending, deleting, and near-name checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_registry.errors import ConfigKeyError, ConfigTypeError, OverrideError
from seg_registry.overrides.known_keys import knows
from seg_registry.overrides.option_text import DELETE, steps_of
from seg_registry.overrides.where_used import places_that_keep
from seg_registry.suggest import did_you_mean, edit_distance
from seg_registry.values.config_dict import ConfigDict, mark, wrap
from seg_registry.values.draft import MISSING, is_index
from seg_registry.values.origins import OVERRIDE, Chain, chain_of

__all__ = ["apply"]


def apply(table: ConfigDict, options: Mapping[str, Any], *, allow_list_keys: bool, strict: bool, source: str) -> None:
    """Put every option into the config: first composed into one tree of changes, then merged like a child config."""
    changes: dict[Any, Any] = {}
    for key, value in options.items():
        if not str(key).startswith("+"):
            _compose(changes, str(key), value, source)
    _Change(allow_list_keys, strict, insists=False).into_table(table, changes, "")
    for key, value in options.items():
        if str(key).startswith("+"):
            change: dict[Any, Any] = {}
            _compose(change, str(key), value, source)
            _Change(allow_list_keys, strict, insists=True).into_table(table, change, "")
    _report_late({steps_of(str(key).removeprefix("+"))[0] for key in options}, table, options)


class _Leaf:
    """One value that an option sets, and the chain that tells of it."""

    __slots__ = ("chain", "key", "value")

    def __init__(self, value: Any, key: str, source: str) -> None:
        self.value = value
        self.key = key
        shown = "" if value is DELETE else repr(value)
        self.chain = ((OVERRIDE, 0, f"{key}={shown}" + (f" ({source})" if source else "")),)


def _compose(tree: dict[Any, Any], key: str, value: Any, source: str) -> None:
    """Put one option into the tree of changes; a later one replaces an earlier one."""
    steps = steps_of(key.removeprefix("+"))
    for step in steps[:-1]:
        tree = tree.setdefault(step, {})
        if isinstance(tree, _Leaf):
            raise OverrideError(f"{key!r} goes below {tree.key!r}, which another option sets to {tree.value!r}")
    tree[steps[-1]] = _leaves(value, key, source)


def _leaves(value: Any, key: str, source: str) -> Any:
    if isinstance(value, Mapping):
        return {each: _leaves(inner, f"{key}.{each}", source) for each, inner in value.items()}
    return _Leaf(value, key, source)


def _made(change: Any, path: str) -> Any:
    """The value that a change sets where there was none."""
    if isinstance(change, _Leaf):
        return wrap(change.value, path)
    result = ConfigDict()
    for key, each in change.items():
        if isinstance(each, _Leaf) and each.value is DELETE:
            continue
        dict.__setitem__(result, key, _made(each, f"{path}.{key}"))
        mark(result, key, _chain(each))
    return result


def _first(change: Any) -> _Leaf | None:
    """The first value that a tree of changes sets; None in an empty one."""
    while isinstance(change, dict):
        change = next(iter(change.values()), None)
    leaf: _Leaf | None = change
    return leaf


def _chain(change: Any) -> Chain:
    leaf = _first(change)
    return leaf.chain if leaf else ()


def _deletes(change: dict[Any, Any]) -> bool:
    leaf = change.get("_delete_")
    return isinstance(leaf, _Leaf) and bool(leaf.value)


class _Change:
    """Walks a tree of changes into a config."""

    def __init__(self, allow_list_keys: bool, strict: bool, *, insists: bool) -> None:
        self.allow_list_keys = allow_list_keys
        self.strict = strict
        self.insists = insists

    def into_table(self, holder: Any, changes: dict[Any, Any], path: str) -> None:
        """Merge changes into a dict, in place."""
        for key, change in changes.items():
            if key == "_delete_" and path:
                continue
            step = _key_in(holder, key)
            here = f"{path}.{step}" if path else str(step)
            if isinstance(change, _Leaf) and change.value is DELETE:
                self._delete(holder, step, here)
                continue
            old = holder.get(step, MISSING)
            if old is MISSING:
                self._check_new(holder, step, path, change)
            new = self._new_value(old, change, here)
            dict.__setitem__(holder, step, new)
            if isinstance(holder, ConfigDict) and (new is not old or not isinstance(new, dict)):
                mark(holder, step, chain_of(holder, step) + _chain(change))

    def _new_value(self, old: Any, change: Any, path: str) -> Any:
        """What comes into the place of `old`: itself, changed, where a dict of changes meets a dict or list."""
        if isinstance(change, _Leaf):
            if self.insists and isinstance(old, list | tuple):
                more = change.value if isinstance(change.value, list) else [change.value]
                return type(old)([*old, *wrap(more, path)])
            return wrap(change.value, path)
        if old is MISSING:
            return _made(change, path)
        if _deletes(change):
            return _made({key: each for key, each in change.items() if key != "_delete_"}, path)
        if isinstance(old, dict):
            self.into_table(old, change, path)
            return old
        if isinstance(old, list | tuple):
            return self._into_list(old, change, path)
        raise ConfigTypeError(f"cannot set keys of {path!r}: it is {old!r} ({type(old).__name__}), not a dict or list")

    def _into_list(self, holder: Any, changes: dict[Any, Any], path: str) -> Any:
        if not self.allow_list_keys:
            raise ConfigTypeError(f"cannot set elements of {path!r}: it is a list, and allow_list_keys is off")
        items, gone = list(holder), []
        for key, change in changes.items():
            index = self._index(holder, key, path)
            if isinstance(change, _Leaf) and change.value is DELETE:
                gone.append(index % len(holder))
            else:
                items[index] = self._new_value(items[index], change, f"{path}.{key}")
        kept = [each for index, each in enumerate(items) if index not in gone]
        if isinstance(holder, tuple):
            return tuple(kept)
        holder[:] = kept
        return holder

    def _index(self, holder: Any, step: Any, path: str) -> int:
        if not is_index(str(step)):
            raise ConfigTypeError(f"cannot set '{path}.{step}': {path!r} is a list, {step!r} is not an index")
        if not -len(holder) <= int(step) < len(holder):
            raise ConfigKeyError(
                f"cannot set '{path}.{step}': {path!r} has {len(holder)} elements; +{path}=... appends to it"
            )
        return int(step)

    def _delete(self, holder: Any, step: Any, path: str) -> None:
        if step not in holder:
            raise ConfigKeyError(f"no key {path!r} to delete; {did_you_mean(step, holder)}")
        dict.__delitem__(holder, step)

    def _check_new(self, holder: Any, step: Any, path: str, change: Any) -> None:
        """A new key that looks like an existing one is an error on the command line; any other is reported."""
        if self.insists:
            return
        at = f" in {path!r}" if path else ""
        leaf = _first(change)
        full = leaf.key if leaf else step
        near = [key for key in holder if _looks_like(step, key)]
        nothing = isinstance(change, _Leaf) and change.value is None
        if near and not nothing and not knows(holder, step, top=not path):
            message = f"no key {step!r}{at}; did you mean {near[0]!r}? To add it all the same: +{full}=..."
            if self.strict:
                raise OverrideError(message)
            _report(message)
        else:
            _report(f"new key {step!r}{at}, set by {full!r}")


def _report_late(names: set[str], table: ConfigDict, options: Mapping[str, Any]) -> None:
    """Say where an overridden variable had been used already, so that nobody waits for an effect that cannot come."""
    for name in sorted(names):
        kept = [path for path in places_that_keep(table, name) if not any(path in str(key) for key in options)]
        if kept:
            more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
            _report(f"{name!r} was read before the override; unchanged: {', '.join(map(repr, kept[:3]))}{more}")


def _key_in(holder: Any, step: Any) -> Any:
    """The key that a step means: an integer key where there is one and no such string."""
    if step not in holder and is_index(step) and int(step) in holder:
        return int(step)
    return step


def _looks_like(step: Any, key: Any) -> bool:
    if not isinstance(step, str) or not isinstance(key, str):
        return False
    distance = edit_distance(step, key)
    return 0 < distance <= 2 and distance < min(len(step), len(key))


def _report(message: str) -> None:
    import logging

    logging.getLogger("seg_registry").warning(message)
