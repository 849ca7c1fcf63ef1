"""What of a config is the run's own: it lies under `seg`, or is told by its type from names that the config uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_runner.assembly.arguments import ARGUMENTS, CONFIG_KEYS, OWN, OWN_KEYS
from seg_runner.errors import did_you_mean, near_key, origin_of
from seg_runner.protocols import Config

__all__ = ["COMMON", "UNMISTAKABLE", "is_misspelt_own", "is_used", "keep_apart", "own_arguments", "own_lines"]

COMMON = frozenset(("checkpoint", "device", "hooks", "log_interval", "loss", "signals"))
"""Own keys that a config for MMEngine may well use as names for something else."""

UNMISTAKABLE = frozenset(("strategy",))
"""Own keys that nothing else is called: a value that does not fit is an error, and not a name of the config's own."""

PLAIN = (str, bytes, int, float, list, tuple, type(None))
NOT_READ = "overwrite"
"""Deletes files, so no config may set it."""


def own_arguments(cfg: Config) -> dict[str, Any]:
    """Return the run's own arguments in a config: those under `seg`, and top-level ones that are meant so.

    Raises:
        TypeError: `seg` holds a key that there is none of.
        ValueError: `seg.overwrite`, which no config may set.
    """
    under = _under_seg(cfg)
    for key in under:
        where = f"{OWN}.{key}{origin_of(cfg, f'{OWN}.{key}')}"
        if key == NOT_READ:
            raise ValueError(
                f"{where} cannot be set in a config, since it deletes files: give it where the run is started "
                "(--overwrite, Runner.from_cfg(cfg, overwrite=True))"
            )
        if key in CONFIG_KEYS and key not in OWN_KEYS:
            raise TypeError(f"{where} is a key of its own: write it at the top of the config, as {key} = ...")
        if key not in OWN_KEYS:
            raise TypeError(
                f"{where} is no argument of a run.{did_you_mean(str(key), OWN_KEYS)} {OWN} takes {', '.join(OWN_KEYS)}"
            )
    return {key: under[key] if key in under else cfg[key] for key in OWN_KEYS if key in under or _is_meant(cfg, key)}


def keep_apart(cfg: Any) -> None:
    """Write under `seg` that a top-level name which the files of the config use themselves is not the run's.

    The config that a run writes out has those uses no longer, and must be read as this one is.
    """
    for key in sorted(COMMON):
        if key in cfg and is_used(cfg, key) and key not in _under_seg(cfg):
            if cfg.get(OWN) is None:
                cfg[OWN] = {}
            if isinstance(cfg[OWN], Mapping):
                cfg[OWN][key] = ARGUMENTS[key].default


def own_lines(cfg: Config) -> list[str]:
    """Return a line for each top-level name of a config that is the run's own, or that only looks so.

    >>> own_lines({"checkpoint": "https://example.org/mit_b0.pth"})
    ['checkpoint is left to the config; for the run itself it is written seg=dict(checkpoint=...)']
    """
    lines = []
    for key in (*OWN_KEYS, NOT_READ):
        if key not in cfg:
            continue
        where = f"{key}{origin_of(cfg, key)}"
        if key == NOT_READ:
            lines.append(f"{where} is not read from a config, since it deletes files: --overwrite")
        elif key in _under_seg(cfg) or not _is_meant(cfg, key):
            lines.append(f"{where} is left to the config; for the run itself it is written {OWN}=dict({key}=...)")
        elif key in COMMON:
            lines.append(f"{where} is taken for the run's own, better written {OWN}=dict({key}=...)")
    for key in cfg:
        near = near_key(key, COMMON) if isinstance(key, str) and key not in CONFIG_KEYS else None
        if near is not None and not is_used(cfg, key):
            lines.append(f"{key}{origin_of(cfg, key)} is left to the config. Did you mean {OWN}=dict({near}=...)?")
    if cfg.get(OWN) is not None and not isinstance(cfg[OWN], Mapping):
        lines.append(f"{OWN}{origin_of(cfg, OWN)} is no dict, so it is left to the config")
    return lines


def _under_seg(cfg: Config) -> Mapping[str, Any]:
    under = cfg.get(OWN)
    return under if isinstance(under, Mapping) else {}


def _is_meant(cfg: Config, key: str) -> bool:
    """Tell whether a top-level name is there and is the run's own: of the right type, and not used by the config."""
    if key in cfg and key in UNMISTAKABLE:
        return True
    return key in cfg and _fits(key, cfg[key]) and not (key in COMMON and is_used(cfg, key))


def is_used(cfg: object, key: str) -> bool:
    """Tell whether the files of a config use a top-level name themselves."""
    reads = getattr(cfg, "reads", None)
    return callable(reads) and bool(reads(key))


def is_misspelt_own(cfg: Config, key: object) -> bool:
    """Tell whether a key is probably a misspelt `seg`: nearly so called, and it holds what lies there.

    >>> is_misspelt_own({"sge": {"device": "cpu"}}, "sge"), is_misspelt_own({"set": {"a": 1}}, "set")
    (True, False)
    """
    if not isinstance(key, str) or near_key(key, [OWN]) is None:
        return False
    held = cfg[key]
    return isinstance(held, Mapping) and any(name in OWN_KEYS for name in held)


def _fits(key: str, value: Any) -> bool:
    try:
        ARGUMENTS[key].check_value(key, value, None)
    except (TypeError, ValueError):
        return False
    if key == "hooks" and value is not None:
        return all(map(_is_part, [value] if isinstance(value, Mapping) else value))
    return key != "loss" or value is None or _is_part(value)


def _is_part(value: object) -> bool:
    return "type" in value if isinstance(value, Mapping) else not isinstance(value, PLAIN)
