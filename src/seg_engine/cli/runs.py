"""From a config to a Runner on the command line, where `custom_imports` may be carried out."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["make_runner", "train"]


def make_runner(cfg: Any) -> Any:
    """The Runner of a config; what the config asks to import is imported, since a person started this."""
    from seg_registry import builder
    from seg_runner import Runner

    return Runner.from_cfg(cfg, build=builder(cfg, allow_imports=True))


def train(runner: Any, again: str) -> None:
    """Train; where a signal stops it, say which command goes on."""
    try:
        runner.train()
    except SystemExit:
        print(f"go on with: {again}", file=sys.stderr)
        raise
