"""The config, as a part that derives from one of MMEngine's takes it."""

from __future__ import annotations

import sys
from typing import Any

from seg_runner.mmengine.classes import is_of_mmengine

__all__ = ["config_for"]


def config_for(part: object, cfg: Any) -> Any:
    """Return the config for a part of a run: MMEngine's visualizers insist on MMEngine's own Config."""
    kind = getattr(sys.modules.get("mmengine.config"), "Config", None)
    if kind is None or isinstance(cfg, kind) or not is_of_mmengine(type(part)):
        return cfg
    values = cfg.to_dict() if callable(getattr(cfg, "to_dict", None)) else dict(cfg)
    return kind(values, filename=getattr(cfg, "filename", None))
