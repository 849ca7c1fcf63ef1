"""The hooks of a run: default ones, the user's, and plain ones where nothing is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from seg_runner.assembly.arguments import Parts
from seg_runner.errors import did_you_mean, near_key, origin_of, written_at
from seg_runner.hooks.defaults import DEFAULT_HOOKS, DEFAULT_PRIORITIES, merge_default_hooks
from seg_runner.hooks.fallback import stand_ins
from seg_runner.hooks.table import priority_number

__all__ = ["fill_stand_ins", "register_default_hook", "register_hooks"]


INSTALL_HOOKS = "pip install seg-hooks"


def register_hooks(runner: Any) -> None:
    """The hooks of the arguments: with a config the default ones first; plain ones where those are absent."""
    parts: Parts = runner.parts
    for slot, hook in (parts["default_hooks"] or {}).items():
        if hook is not None:
            _check_slot(runner, str(slot), parts["strict_keys"])
    if parts["cfg"] is not None:
        runner.register_default_hooks(parts["default_hooks"])
    else:
        for slot, (hook, named) in merge_default_hooks(parts["default_hooks"]).items():
            if named:
                register_default_hook(runner, slot, hook, named)
    for key, listed in (("custom_hooks", parts["custom_hooks"]), ("hooks", parts["hooks"])):
        if listed:
            runner.register_custom_hooks([listed] if isinstance(listed, Mapping) else listed, key)


def _check_slot(runner: Any, slot: str, strict: bool) -> None:
    """A name in `default_hooks` that is none of the usual ones adds a hook; one that is nearly theirs is a slip."""
    near = near_key(slot, (*DEFAULT_HOOKS, "visualization"))
    where = origin_of(runner.cfg, f"default_hooks.{slot}")
    if near is not None and strict:
        raise ValueError(
            f"default_hooks.{slot}{where} would be added beside the default hooks. Did you mean {near!r}? If not: give "
            "it another name, put the hook into custom_hooks, or set strict_keys=False"
        )
    if slot not in DEFAULT_HOOKS and (words := did_you_mean(slot, DEFAULT_HOOKS)):
        runner.logger.warning("default_hooks.%s%s is added beside the default hooks.%s", slot, where, words)


def register_default_hook(runner: Any, slot: str, cfg: Any, named: bool) -> None:
    """One default hook; one that was not named and is not installed is left out, with a line that says so."""
    try:
        hook, priority = runner.assembler.hook(cfg, f"default_hooks.{slot}")
    except (KeyError, LookupError, ImportError, TypeError) as error:
        if named or not _is_absent(runner, cfg):
            raise
        runner.logger.info("%s is not installed (%s; %s)", cfg["type"], INSTALL_HOOKS, type(error).__name__)
        return
    with written_at(runner.cfg, f"default_hooks.{slot}"):
        runner.table.add(hook, priority, origin_of(runner.cfg, f"default_hooks.{slot}.type"))
    usual = DEFAULT_PRIORITIES.get(type(hook).__name__)
    if usual is None or priority is None or slot not in DEFAULT_HOOKS:
        return
    if priority_number(priority) != priority_number(usual):
        text = "default_hooks.%s has priority %s instead of %s: the order of the default hooks matters"
        runner.logger.warning(text, slot, priority, usual)


def _is_absent(runner: Any, cfg: Any) -> bool:
    """Whether the hook's name cannot be found at all."""
    if runner.assembler.builder is None:
        return True
    try:
        runner.assembler.resolve("hook", cfg["type"], "default_hooks")
    except Exception:
        return True
    return False


def _plain_line(slots: Mapping[str, Any]) -> str:
    if find_spec("seg_hooks") is None:
        return f"seg-hooks is not installed ({INSTALL_HOOKS}): plain {', '.join(slots)} instead of its hooks"
    return f"No hooks were given for {', '.join(slots)}: plain ones stand in (hooks=[...] from seg-hooks replaces them)"


def fill_stand_ins(runner: Any) -> None:
    """Let plain hooks stand in for the default hooks that are absent."""
    table = runner.table
    removed = [slot for slot, hook in (runner.parts["default_hooks"] or {}).items() if hook is None]
    table.stand_in(stand_ins(table.registered, removed, table.stand_ins))
