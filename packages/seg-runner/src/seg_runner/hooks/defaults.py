"""What a run has unless told otherwise: the default hooks and their order; keys of a config without effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from seg_runner.errors import did_you_mean

__all__ = ["DEFAULT_HOOKS", "DEFAULT_PRIORITIES", "merge_default_hooks", "without_effect"]

#: Slot -> config of the hooks that `Runner.from_cfg` registers, in this order.
DEFAULT_HOOKS: dict[str, dict[str, Any]] = {
    "runtime_info": {"type": "RuntimeInfoHook"},
    "timer": {"type": "IterTimerHook"},
    "sampler_seed": {"type": "DistSamplerSeedHook"},
    "logger": {"type": "LoggerHook"},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "checkpoint": {"type": "CheckpointHook"},
}

#: The priority that each default hook is meant to have.
DEFAULT_PRIORITIES: dict[str, str] = {
    "RuntimeInfoHook": "VERY_HIGH",
    "IterTimerHook": "NORMAL",
    "DistSamplerSeedHook": "NORMAL",
    "LoggerHook": "BELOW_NORMAL",
    "ParamSchedulerHook": "LOW",
    "CheckpointHook": "VERY_LOW",
}

#: Keys of MMEngine's configs for several processes, and why they change nothing on one.
WITHOUT_EFFECT: dict[str, str] = {
    "model_wrapper_cfg": "there is one process",
    "find_unused_parameters": "there is one process",
    "sync_bn": "there is one process",
}


class HasKeys(Protocol):
    """A dict or a config."""

    def get(self, key: str, /) -> object:
        """Return the value of a key, or None."""


def without_effect(cfg: HasKeys | None) -> list[str]:
    """Return lines about keys of a config that change nothing on one process."""
    if cfg is None:
        return []
    return [f"{key} has no effect: {why}" for key, why in WITHOUT_EFFECT.items() if cfg.get(key)]


def merge_default_hooks(default_hooks: Mapping[str, Any] | None) -> dict[str, tuple[Any, bool]]:
    """Return slot -> (config or hook, was it named by the user), without the slots that were left out.

    A known slot with a config replaces the default whole; None removes it; unknown slots are added.

    Raises:
        ValueError: None for a slot that is no default.
    """
    slots: dict[str, tuple[Any, bool]] = {slot: (dict(cfg), False) for slot, cfg in DEFAULT_HOOKS.items()}
    for slot, cfg in (default_hooks or {}).items():
        if cfg is not None:
            slots[slot] = (cfg, True)
        elif slots.pop(slot, None) is None:
            raise ValueError(
                f"default_hooks has {slot}=None, but there is no default hook of that name to leave out. "
                f"Default hooks: {', '.join(DEFAULT_HOOKS)}.{did_you_mean(slot, DEFAULT_HOOKS)}"
            )
    return slots
