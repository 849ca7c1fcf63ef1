"""The hooks of a run: default ones, the user's, and fallback ones where nothing is installed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Protocol

from seg_runner.assembly.arguments import Arguments
from seg_runner.assembly.assembler import Assembler
from seg_runner.assembly.fallback import fallback_hooks
from seg_runner.errors import did_you_mean, install_line, near_key, origin_of, written_at
from seg_runner.hooks.defaults import DEFAULT_HOOKS, DEFAULT_PRIORITIES, merge_default_hooks
from seg_runner.hooks.table import HookTable, priority_number

__all__ = ["add_custom_hooks", "add_default_hooks", "add_fallback_hooks", "check_slots", "describe_fallbacks"]


class TakesHooks(Protocol):
    """A runner to which hooks are added."""

    @property
    def cfg(self) -> object:
        """The config, or None."""

    @property
    def assembler(self) -> Assembler:
        """Makes hooks of their configs."""

    @property
    def table(self) -> HookTable:
        """Where they go."""

    @property
    def logger(self) -> logging.Logger:
        """The log of the run."""


def check_slots(arguments: Arguments, logger: logging.Logger) -> None:
    """Look at the names in `default_hooks`: an unusual one adds a hook, one that is nearly a usual one is a slip.

    Raises:
        ValueError: such a slip, unless `strict_keys` is False.
    """
    for slot, hook in (arguments["default_hooks"] or {}).items():
        if hook is None:
            continue
        near = near_key(str(slot), (*DEFAULT_HOOKS, "visualization"))
        where = origin_of(arguments["cfg"], f"default_hooks.{slot}")
        if near is not None and arguments["strict_keys"]:
            raise ValueError(
                f"default_hooks.{slot}{where} would be added beside the default hooks. Did you mean {near!r}? If not: "
                "give it another name, put the hook into custom_hooks, or set strict_keys=False"
            )
        if slot not in DEFAULT_HOOKS and (words := did_you_mean(str(slot), DEFAULT_HOOKS)):
            logger.warning("default_hooks.%s%s is added beside the default hooks.%s", slot, where, words)


def add_default_hooks(runner: TakesHooks, hooks: Mapping[str, object] | None, *, named_only: bool = False) -> None:
    """Add the default hooks, with the given slots replaced, added, or (None) left out; `named_only`: the given alone.

    Raises:
        TypeError: it is no dict.
    """
    if not isinstance(hooks, Mapping | None):
        raise TypeError(f"default hooks must be a dict from a slot to its config, or None, not {hooks!r}")
    for slot, (cfg, named) in merge_default_hooks(hooks).items():
        if named or not named_only:
            _add_default_hook(runner, slot, cfg, named)


def add_custom_hooks(runner: TakesHooks, hooks: Iterable[object], key: str) -> None:
    """Add hooks or their configs, in order; `key` is where the config lists them.

    Raises:
        TypeError: it is no list.
    """
    if not isinstance(hooks, Iterable) or isinstance(hooks, str):
        raise TypeError(f"{key} must be a list of hooks, or of their configs, not {hooks!r}")
    for index, hook in enumerate(hooks):
        made, priority = runner.assembler.hook(hook, f"{key}.{index}")
        with written_at(runner.cfg, f"{key}.{index}"):
            runner.table.add(made, priority, origin_of(runner.cfg, f"{key}.{index}.type"))


def _add_default_hook(runner: TakesHooks, slot: str, cfg: object, named: bool) -> None:
    """Add one default hook; one that was not named and is not installed is left out, with a line that says so."""
    try:
        hook, priority = runner.assembler.hook(cfg, f"default_hooks.{slot}")
    except (KeyError, LookupError, ImportError, TypeError) as error:
        if named or not isinstance(cfg, Mapping) or not _is_absent(runner.assembler, cfg["type"]):
            raise
        runner.logger.info("%s is not installed (%s; %s)", cfg["type"], install_line("seg-hooks"), type(error).__name__)
        return
    with written_at(runner.cfg, f"default_hooks.{slot}"):
        runner.table.add(hook, priority, origin_of(runner.cfg, f"default_hooks.{slot}.type"))
    usual = DEFAULT_PRIORITIES.get(type(hook).__name__)
    if usual is None or priority is None or slot not in DEFAULT_HOOKS:
        return
    if priority_number(priority) != priority_number(usual):
        text = "default_hooks.%s has priority %s instead of %s: the order of the default hooks matters"
        runner.logger.warning(text, slot, priority, usual)


def _is_absent(assembler: Assembler, name: str) -> bool:
    """Tell whether a hook's name cannot be found at all."""
    if assembler.builder is None:
        return True
    try:
        assembler.resolve("hook", name, "default_hooks")
    except Exception:
        return True
    return False


def add_fallback_hooks(table: HookTable, default_hooks: Mapping[str, object] | None) -> None:
    """Let fallback hooks stand in for the default hooks that are absent and not left out on purpose."""
    removed = [slot for slot, hook in (default_hooks or {}).items() if hook is None]
    table.set_fallbacks(fallback_hooks(table.registered, removed, table.fallbacks))


def describe_fallbacks(slots: Iterable[str]) -> str:
    """Say for which default hooks fallback ones stand in, and what replaces them."""
    if find_spec("seg_hooks") is None:
        told = f"seg-hooks is not installed: simpler hooks stand in for {', '.join(slots)}"
        return f"{told} ({install_line('seg-hooks')})"
    return (
        f"No hooks were given for {', '.join(slots)}: simpler ones stand in (hooks=[...] from seg-hooks replaces them)"
    )
