"""Packages that a config or code needs and that are not here, and how they come here."""

from __future__ import annotations

from seg_engine.migrate.modules import absent_part, installed

__all__ = ["EXTRAS", "OPERATORS", "absent_operator", "absent_scope", "install", "prepared"]

OPERATORS = frozenset(
    {"sigmoid_focal_loss", "SigmoidFocalLoss", "PSAMask", "MultiScaleDeformableAttention", "SAConv2d"}
    | {"deform_conv2d", "DeformConv2d", "DeformConv2dPack"}
    | {"modulated_deform_conv2d", "ModulatedDeformConv2d", "ModulatedDeformConv2dPack"}
    | {"CrissCrossAttention", "point_sample", "rel_roi_point_to_rel_img_point", "SimpleRoIAlign"}
    | {"Conv2d", "ConvTranspose2d", "Linear", "MaxPool2d"}
    | {"get_compiler_version", "get_compiling_cuda_version"}
)
"""Names of `mmcv.ops` that `seg_engine.mmseg.prepare` computes in torch, or that were Python all along."""

MMSEG = 'pip install "seg-engine[mmseg] @ git+https://github.com/seg-engine/seg-engine"'
EXTRAS = {
    **dict.fromkeys(("mmcv", "mmdet", "mmengine", "mmpretrain", "mmseg"), MMSEG),
    "mmcls": f"mmcls is mmpretrain now: {MMSEG}, and mmpretrain in place of mmcls",
}
"""Packages of a scope, and what installs them."""


def absent_scope(name: str, scope: str) -> str:
    """Return the package that a name is looked up in and that is not installed; empty where there is none.

    >>> absent_scope("no_such_scope.Head", ""), absent_scope("LoggerHook", "")
    ('no_such_scope', '')
    """
    prefix, _, rest = name.partition(".")
    wanted = prefix if rest else scope
    return wanted if wanted and wanted.isidentifier() and installed(wanted) is None else ""


def install(package: str) -> str:
    """Return how a package comes here."""
    return EXTRAS.get(package, f"install what {package} comes from" if package else "")


def absent_operator(dotted: str) -> str:
    """Return the compiled operator of mmcv that a name means and that is not here; empty where it is.

    >>> absent_operator("mmcv.ops.point_sample"), absent_operator("mmcv.imread")
    ('', '')
    """
    name = dotted.removeprefix("mmcv.ops.").partition(".")[0]
    compiled = installed("mmcv") is not None and not absent_part("mmcv._ext")
    return "" if name == dotted.partition(".")[0] or name in OPERATORS or compiled else name


def prepared(cfg: object) -> list[str]:
    """Let what a config names be imported where mmcv is not compiled, as `seg train` does; what was done, a line each.

    It stays until the process ends, as there; a second call does nothing.
    """
    from seg_engine.mmseg import prepare_for

    try:
        return prepare_for(cfg)
    except Exception:  # what fails in it fails in the look-up too, which says so
        return []
