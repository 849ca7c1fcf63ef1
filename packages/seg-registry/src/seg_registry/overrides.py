"""Putting overrides into a config: dotted keys, list elements, appending, deleting, and near-name checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_registry.carried import places_that_keep
from seg_registry.config_dict import ConfigDict, mark, wrap
from seg_registry.draft import MISSING, is_index
from seg_registry.errors import ConfigKeyError, ConfigTypeError, OverrideError
from seg_registry.known_keys import knows
from seg_registry.option_values import DELETE
from seg_registry.origins import OVERRIDE, chain_of
from seg_registry.suggest import did_you_mean, edit_distance

__all__ = ["apply"]


def apply(
    table: ConfigDict,
    options: Mapping[str, Any],
    *,
    allow_list_keys: bool = True,
    strict: bool = False,
    source: str = "",
) -> None:
    """Put every option into the config; `_delete_` keys come first, so that they delete the base and no sibling."""
    ordered = sorted(options.items(), key=lambda item: not str(item[0]).endswith("._delete_"))
    for key, value in ordered:
        _Override(str(key), value, allow_list_keys, strict, source).put_into(table)
    _report_late({str(key).lstrip("+").partition(".")[0] for key in options}, table, options)


class _Override:
    """One option on its way to its place."""

    def __init__(self, key: str, value: Any, allow_list_keys: bool, strict: bool, source: str) -> None:
        self.insists = key.startswith("+")
        self.key = key.lstrip("+")
        self.value = value
        self.allow_list_keys = allow_list_keys
        self.strict = strict
        shown = "" if value is DELETE else repr(value)
        self.chain = ((OVERRIDE, 0, f"{key}={shown}" + (f" ({source})" if source else "")),)

    def put_into(self, table: ConfigDict) -> None:
        """Walk down to the place and set, merge, append or delete there."""
        steps = self.key.split(".")
        if not all(steps):
            raise OverrideError(f"{self.key!r} is not a dotted key")
        if steps[-1] == "_delete_" and len(steps) > 1:
            if not self.value:
                return
            steps, self.value = steps[:-1], {"_delete_": True}
        self._into(table, steps, "")

    def _into(self, holder: Any, steps: list[str], path: str) -> Any:
        """The holder with the value put at the steps; lists and dicts are changed in place, tuples made anew."""
        if isinstance(holder, dict):
            self._into_table(holder, steps, path)
            return holder
        if isinstance(holder, list | tuple):
            return self._into_list(holder, steps, path)
        raise ConfigTypeError(
            f"cannot set {self.key!r}: {path!r} is {holder!r} ({type(holder).__name__}), not a dict or list"
        )

    def _into_table(self, holder: Any, steps: list[str], path: str) -> None:
        step = _key_in(holder, steps[0])
        here = f"{path}.{step}" if path else str(step)
        old = holder.get(step, MISSING)
        if old is MISSING and self.value is not DELETE:
            self._check_new(holder, step, path)
        if len(steps) == 1:
            self._finish(holder, step, old, here)
            return
        if old is MISSING:
            old = ConfigDict()
        new = self._into(old, steps[1:], here)
        dict.__setitem__(holder, step, new)
        if not isinstance(new, dict) or step not in getattr(holder, "_marks_", {}):
            self._mark(holder, step)

    def _finish(self, holder: Any, step: Any, old: Any, path: str) -> None:
        if self.value is DELETE:
            if old is MISSING:
                raise ConfigKeyError(f"no key {path!r} to delete; {did_you_mean(step, holder)}")
            dict.__delitem__(holder, step)
            return
        dict.__setitem__(holder, step, self._new_value(old, self.value, path))
        self._mark(holder, step)

    def _new_value(self, old: Any, value: Any, path: str) -> Any:
        """What comes into the place of `old`."""
        if self.insists and isinstance(old, list | tuple):
            more = value if isinstance(value, list) else [value]
            return type(old)([*old, *wrap(more, path)])
        if not isinstance(value, Mapping):
            return wrap(value, path)
        if value.get("_delete_") and old is not MISSING:
            return wrap({key: each for key, each in value.items() if key != "_delete_"}, path)
        if old is MISSING:
            return wrap(dict(value), path)
        for key, each in value.items():
            if key == "_delete_":
                continue
            part = _Override(str(key), each, self.allow_list_keys, self.strict, "")
            part.insists, part.chain = self.insists, self.chain
            old = part._into(old, [key], path)
        return old

    def _into_list(self, holder: Any, steps: list[str], path: str) -> Any:
        if not self.allow_list_keys:
            raise ConfigTypeError(f"cannot set {self.key!r}: {path!r} is a list, and allow_list_keys is off")
        index = self._index(holder, str(steps[0]), path)
        items = list(holder)
        here = f"{path}.{steps[0]}"
        if len(steps) > 1:
            items[index] = self._into(items[index], steps[1:], here)
        elif self.value is DELETE:
            del items[index]
        else:
            items[index] = self._new_value(items[index], self.value, here)
        if isinstance(holder, tuple):
            return tuple(items)
        holder[:] = items
        return holder

    def _index(self, holder: Any, step: str, path: str) -> int:
        if not is_index(step):
            raise ConfigTypeError(f"cannot set {self.key!r}: {path!r} is a list, {step!r} is not an index")
        if not -len(holder) <= int(step) < len(holder):
            raise ConfigKeyError(
                f"cannot set {self.key!r}: {path!r} has {len(holder)} elements; +{path}=... appends to it"
            )
        return int(step)

    def _mark(self, holder: Any, step: Any) -> None:
        if isinstance(holder, ConfigDict):
            mark(holder, step, chain_of(holder, step) + self.chain)

    def _check_new(self, holder: Any, step: Any, path: str) -> None:
        """A new key that looks like an existing one is an error on the command line; any other is reported."""
        near = [key for key in holder if _looks_like(step, key)]
        at = f" in {path!r}" if path else ""
        if near and not self.insists and self.value is not None and not knows(holder, step, top=not path):
            message = f"no key {step!r}{at}; did you mean {near[0]!r}? To add it all the same: +{self.key}=..."
            if self.strict:
                raise OverrideError(message)
            _report(message)
        elif not self.insists:
            _report(f"new key {step!r}{at}, set by {self.key!r}")


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
