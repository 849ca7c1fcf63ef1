"""MMSegmentation where mmcv has no compiled operators, for the benchmarks and the parity tests."""

from __future__ import annotations

import sys
import types
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn


class _Operators(types.ModuleType):
    """Stands in for `mmcv.ops`: every name is an empty module."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {})


def import_torchvision() -> None:
    """Import torchvision also where its compiled operators do not fit the CPU build of torch."""
    real = torch.library.register_fake

    def register(name: Any, *args: Any, **kwargs: Any) -> Any:
        return (lambda function: function) if str(name).startswith("torchvision::") else real(name, *args, **kwargs)

    torch.library.register_fake = register
    try:
        import torchvision  # noqa: F401
    finally:
        torch.library.register_fake = real


@cache
def import_mmseg() -> Path:
    """Import MMSegmentation with its models; returns the folder of its configs."""
    import mmcv

    mmcv.__version__ = "2.1.0"
    sys.modules.setdefault("mmcv.ops", _Operators("mmcv.ops"))
    import_torchvision()
    import mmseg.engine
    import mmseg.models
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    return Path(mmseg.__file__).parent / ".mim/configs"
