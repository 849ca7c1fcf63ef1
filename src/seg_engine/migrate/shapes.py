"""The parts of a checkpoint, and what each must be: anybody can write a file in which one is something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, SupportsIndex

from seg_engine.migrate.findings import UNREAD, Finding

__all__ = ["fitting", "misfits", "told_of_misfits"]


class Shape(NamedTuple):
    """What a part must be: a test, and the same in words."""

    fits: Callable[[object], bool]
    words: str


def is_mapping(part: object) -> bool:
    """Tell whether a part is a dict."""
    return isinstance(part, Mapping)


def is_meta(part: object) -> bool:
    """Tell whether a part says of a run what can be read.

    >>> is_meta({"iter": 2}), is_meta({"iter": "two"}), is_meta({"dataset_meta": 1}), is_meta(3)
    (True, False, False, False)
    """
    if not isinstance(part, Mapping):
        return False
    counts = (part[name] for name in ("epoch", "iter") if part.get(name) is not None)
    about = part.get("dataset_meta")
    return all(isinstance(count, SupportsIndex) for count in counts) and (about is None or is_mapping(about))


def is_optimizer(part: object) -> bool:
    """Tell whether a part is the state of an optimizer, or of several by name.

    >>> is_optimizer({"state": {}, "param_groups": [{}]}), is_optimizer({"a": {}}), is_optimizer({"param_groups": 4})
    (True, True, False)
    """
    if not isinstance(part, Mapping):
        return False
    if "param_groups" in part:
        return is_list(part["param_groups"]) and is_mapping(part.get("state", {}))
    return all(map(is_mapping, part.values()))


def is_schedulers(part: object) -> bool:
    """Tell whether a part is a list of states, or such a list for each optimizer.

    >>> is_schedulers([{}]), is_schedulers({"a": [{}]}), is_schedulers("x"), is_schedulers({"a": 1})
    (True, True, False, False)
    """
    return all(map(is_list, part.values())) if isinstance(part, Mapping) else is_list(part)


def is_hub(part: object) -> bool:
    """Tell whether a part is the state of a message hub: dicts in a dict."""
    return isinstance(part, Mapping) and all(map(is_mapping, part.values()))


def is_list(part: object) -> bool:
    """Tell whether a part is a list of dicts."""
    return isinstance(part, list | tuple) and all(map(is_mapping, part))


SHAPES = {
    "meta": Shape(is_meta, "a dict, in it epoch and iter whole numbers and dataset_meta a dict"),
    "optimizer": Shape(is_optimizer, "a dict with state (a dict) and param_groups (a list of dicts), or one per name"),
    "param_schedulers": Shape(is_schedulers, "a list of dicts, or a dict of such lists"),
    "message_hub": Shape(is_hub, "a dict of dicts"),
    "ema_state_dict": Shape(is_mapping, "a dict"),
}


def misfits(content: Mapping[str, object]) -> list[str]:
    """Return the names of the parts that are not what they must be; a state_dict alone has no such parts.

    >>> misfits({"state_dict": {}, "meta": {"iter": 2}, "optimizer": 3}), misfits({"optimizer": 3})
    (['optimizer'], [])
    """
    if "state_dict" not in content and "meta" not in content:
        return []
    held = {name: content[name] for name in SHAPES if content.get(name) is not None}
    return [name for name, part in held.items() if not SHAPES[name].fits(part)]


def fitting(content: Mapping[str, object]) -> dict[str, object]:
    """Return a checkpoint without the parts that are not what they must be."""
    wrong = misfits(content)
    return {name: part for name, part in content.items() if name not in wrong}


def told_of_misfits(content: Mapping[str, object], file: str) -> Iterator[Finding]:
    """Yield each part that is not what it must be."""
    for name in misfits(content):
        what = f"its {name} cannot be read: {shown(content[name])} was given, {SHAPES[name].words} is expected"
        yield Finding(UNREAD, file, 0, what, "write it anew; for its weights alone, a file with state_dict only")


def shown(part: object) -> str:
    """Return a part in few words.

    >>> shown(3), shown({"state": 3})
    ('int', "dict with 'state': int")
    """
    kind = type(part).__name__
    if not isinstance(part, Mapping):
        return kind
    held = ", ".join(f"{name!r}: {type(value).__name__}" for name, value in list(part.items())[:4])
    return f"{kind} with {held}" if held else kind
