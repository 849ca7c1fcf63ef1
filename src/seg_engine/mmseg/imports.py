"""`prepare()`: MMSegmentation imports with mmcv-lite, on any torch, beside any torchvision."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from seg_engine.mmseg.vision import import_torchvision

PACKAGES = ("mmseg", "mmdet", "mmpretrain")  # whose models mmcv's operators are for
KEYS = ("default_scope", "_scope_", "custom_imports", "imports")  # of a config, that name a package
NEWEST_MMCV = "2.1.0"  # the last one that MMSegmentation 1.2.2 and MMDetection 3.3.0 take


def prepare() -> list[str]:
    """Make MMSegmentation importable in this process where mmcv has no compiled operators.

    Call it before anything imports `mmseg.models` or `mmcv.ops`. It stays until the process ends; a second call does
    nothing. Where mmcv is compiled, nothing is done at all.

    - `mmcv._ext` becomes a module whose operators are computed by torch: sigmoid focal loss, PSAMask, deformable and
      modulated deformable convolution, multi-scale deformable attention. Another one raises NotImplementedError when
      it is called.
    - `mmseg` (and `mmdet`, if it is there) is imported, and meanwhile an mmcv that is too new for it gives the version
      2.1.0.
    - mmpretrain leaves its multimodal models out, where it would import them and transformers is too new for them.
    - A torchvision whose operators do not fit this torch is imported without them, since timm and mmpretrain want its
      Python part.

    Returns:
        What was done, one line for each thing.

    Raises:
        ModuleNotFoundError: MMSegmentation or mmcv is not installed.
    """
    missing = [name for name in ("mmcv", "mmseg") if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"no package {' and no package '.join(missing)} is installed here; MMSegmentation, with an mmcv that needs "
            'no compiler: `pip install "seg-engine[mmseg] @ git+https://github.com/seg-engine/seg-engine"`',
            name=missing[0],
        )
    if compiled():
        return []
    return [
        *_stand_in_for_operators(),
        *import_torchvision(),
        *_import_in_spite_of_version("mmseg", "mmdet"),
        *_leave_multimodal_models_out(),
    ]


def prepare_for(cfg: object) -> list[str]:
    """Do what `prepare` does, if a config asks for MMSegmentation and it is installed: what `seg train` begins with.

    A config asks for it by its `default_scope`, by the name of a part (`mmseg.FCNHead`, `mmdet.DiceLoss`,
    `mmpretrain.ConvNeXt`), or by `custom_imports`.

    >>> prepare_for({"default_scope": None, "model": {"type": "Segmentor"}})
    []
    """
    table = cfg if isinstance(cfg, Mapping) else getattr(cfg, "to_dict", dict)()
    asked = any(name.partition(".")[0] in PACKAGES for name in _names(table))
    return prepare() if asked and find_spec("mmcv") is not None and find_spec("mmseg") is not None else []


def _names(cfg: object, key: str = "") -> Iterator[str]:
    """Yield the names in a config that may be those of packages, or begin with one."""
    if isinstance(cfg, Mapping):
        for name, value in cfg.items():
            yield from _names(value, str(name))
    elif isinstance(cfg, list | tuple):
        for value in cfg:
            yield from _names(value, key)
    elif isinstance(cfg, str) and (key.endswith("type") or key in KEYS):
        yield cfg


def compiled() -> bool:
    """Tell whether mmcv has compiled operators of its own; imports mmcv."""
    from seg_engine.mmseg.extension import Extension

    there = sys.modules.get("mmcv._ext")
    return find_spec("mmcv._ext") is not None if there is None else not isinstance(there, Extension)


def _stand_in_for_operators() -> list[str]:
    from seg_engine.mmseg.extension import extension

    if "mmcv._ext" in sys.modules:
        return []
    sys.modules["mmcv._ext"] = extension()
    return ["mmcv has no compiled operators: focal loss, PSAMask, deformable convolution and attention run in torch"]


def _import_in_spite_of_version(*packages: str) -> list[str]:
    """Import packages that check mmcv's version at import, with an older one where the true one is too new."""
    mmcv: Any = importlib.import_module("mmcv")
    done = []
    for package in packages:
        if find_spec(package) is None:
            continue
        try:
            importlib.import_module(package)
        except AssertionError as error:
            if "MMCV" not in str(error):
                raise
            true = mmcv.__version__
            mmcv.__version__ = NEWEST_MMCV
            try:
                importlib.import_module(package)
            finally:
                mmcv.__version__ = true
            done.append(f"{package} was imported with mmcv {true}, which it takes for {NEWEST_MMCV}")
    return done


def _leave_multimodal_models_out() -> list[str]:
    """Have mmpretrain not import models that stop its import: it asks only whether their libraries are there."""
    if any(find_spec(name) is None for name in ("mmpretrain", "pycocotools", "transformers")):
        return []
    dependency: Any = importlib.import_module("mmpretrain.utils.dependency")
    transformers: Any = importlib.import_module("transformers.modeling_utils")
    if not dependency.WITH_MULTIMODAL or hasattr(transformers, "apply_chunking_to_forward"):
        return []
    dependency.WITH_MULTIMODAL = False
    return ["mmpretrain leaves its multimodal models out: this transformers is too new for them"]
