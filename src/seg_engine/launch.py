"""From a config and the words of a command line to a run: overrides, `custom_imports`, what to do after a stop."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["make_runner", "override", "train"]


def override(cfg: Any, words: list[str]) -> None:
    """Apply `--cfg-options` words to a config; a key that looks misspelt is an error."""
    from seg_registry import parse_options

    if words:
        cfg.merge_from_dict(parse_options(words), strict=True, source="--cfg-options")


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
