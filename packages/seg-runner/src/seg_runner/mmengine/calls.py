"""Calls in MMEngine's form: which of its arguments mean what here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_runner.errors import did_you_mean

__all__ = ["load_options", "one_of", "resume_without", "save_options"]

SAVE = ("file_client_args", "save_optimizer", "save_param_scheduler", "meta", "by_epoch", "backend_args")
LOAD = ("map_location", "strict", "revise_keys")
RESUME = ("resume_optimizer", "resume_param_scheduler", "map_location")


def one_of(name: str, given: str | Path | None, named: dict[str, Any]) -> str | Path:
    """Return a path that is given by our name of it, or among others by MMEngine's, from where it is taken out.

    Raises:
        TypeError: it is given by neither.
    """
    path: str | Path | None = named.pop(name, None) if given is None else given
    if path is None:
        raise TypeError(f"a path is missing: give the file as the first argument (MMEngine calls it {name})")
    return path


def save_options(
    given: tuple[object, ...], named: Mapping[str, object], optimizer: bool, schedulers: bool
) -> tuple[bool, bool, dict[str, Any]]:
    """Return whether optimizer and schedulers go into the file, and what its `meta` gets besides.

    `by_epoch` says there which counter is one ahead; here both are what is done, so it means nothing.

    Raises:
        TypeError: an argument that there is none of.
        ValueError: files elsewhere than in a folder.
    """
    options = _by_name("save_checkpoint", SAVE, given, named, ("optimizer", "schedulers", "on_done"))
    for name in ("file_client_args", "backend_args"):
        where: Any = options.get(name)
        if where and where.get("backend") not in ("disk", "local"):
            raise ValueError(
                f"save_checkpoint({name}={where!r}): checkpoints are written to folders here; copy the file in on_done"
            )
    meta: Any = options.get("meta")
    return (
        bool(options.get("save_optimizer", optimizer)),
        bool(options.get("save_param_scheduler", schedulers)),
        dict(meta or {}),
    )


def load_options(given: tuple[object, ...], named: Mapping[str, object]) -> dict[str, Any]:
    """Return the options of loading weights; `map_location` means nothing, as weights go to where the model is."""
    named = {name: value for name, value in named.items() if name not in LOAD} | _by_name(
        "load_checkpoint", LOAD, given, {name: value for name, value in named.items() if name in LOAD}
    )
    return {name: value for name, value in named.items() if name != "map_location"}


def resume_without(given: tuple[object, ...], named: Mapping[str, object]) -> list[str]:
    """Return the keys of a checkpoint that a resume leaves out."""
    options = _by_name("resume", RESUME, given, named)
    left_out = [] if options.get("resume_optimizer", True) else ["optimizer", "grads"]
    return left_out + ([] if options.get("resume_param_scheduler", True) else ["param_schedulers"])


def _by_name(
    function: str,
    names: tuple[str, ...],
    given: tuple[object, ...],
    named: Mapping[str, object],
    ours: tuple[str, ...] = (),
) -> dict[str, object]:
    if len(given) > len(names):
        raise TypeError(
            f"{function} takes at most {len(names)} arguments after the file, in this order: {', '.join(names)}"
        )
    placed = dict(zip(names, given, strict=False))
    for name in named:
        if name not in names:
            choices = [*ours, *names]
            raise TypeError(f"{function} takes no argument {name!r}.{did_you_mean(name, choices)}")
        if name in placed:
            raise TypeError(f"{function} got {name!r} twice: by its place, and by its name")
    return {**placed, **named}
