"""From a config to a Runner on the command line, where `custom_imports` may be carried out."""

from __future__ import annotations

from typing import Any

__all__ = ["make_runner"]


def make_runner(cfg: Any) -> Any:
    """The Runner of a config; what the config asks to import is imported, since a person started this."""
    from seg_registry import builder
    from seg_runner import Runner

    return Runner.from_cfg(cfg, build=builder(cfg, allow_imports=True))
