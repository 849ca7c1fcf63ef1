"""MMSegmentation with its models, for the benchmarks and the parity tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from seg_engine.mmseg import prepare


@cache
def import_mmseg() -> Path:
    """Import MMSegmentation with its models; returns the folder of its configs."""
    prepare()
    import mmseg.engine
    import mmseg.models
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    return Path(mmseg.__file__).parent / ".mim/configs"
