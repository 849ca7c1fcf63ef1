"""What backends that derive from MMEngine's are handed: its rows and its Config. Nothing here imports MMEngine."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_of_mmengine", "mmengine_config", "mmengine_row"]


def is_of_mmengine(part: object) -> bool:
    """Tell whether the class of an object derives from one of MMEngine's."""
    return any(base.__module__.partition(".")[0] == "mmengine" for base in type(part).__mro__)


def mmengine_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a record as MMEngine's LoggerHook gives it: without a mode, and with a place for training only.

    Example:
        >>> mmengine_row({"mIoU": 50.0, "mode": "val", "iter": 3, "epoch": 0})
        {'mIoU': 50.0}
    """
    mode = row.get("mode")
    if mode is None:
        return row
    left_out = {"mode", "epoch", "iter"}
    if mode == "train":
        left_out -= {"iter", "epoch"} if row.get("epoch") else {"iter"}
    return {name: value for name, value in row.items() if name not in left_out}


def mmengine_config(config: Any) -> Any:
    """Return a config as MMEngine's own Config, which its backends insist on; other objects as they are."""
    kind = getattr(sys.modules.get("mmengine.config"), "Config", None)
    if kind is None or isinstance(config, kind) or not callable(getattr(config, "to_dict", None)):
        return config
    return kind(config.to_dict(), filename=getattr(config, "filename", None))
