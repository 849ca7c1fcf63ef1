"""Packages that a config or code needs and that are not here, and how they come here."""

from __future__ import annotations

from seg_engine.migrate.modules import installed

__all__ = ["EXTRAS", "absent_scope", "install"]

EXTRAS = {
    "mmseg": 'pip install "seg-engine[mmseg] @ git+https://github.com/seg-engine/seg-engine"',
    "mmcv": 'pip install "seg-engine[mmseg] @ git+https://github.com/seg-engine/seg-engine"',
    "mmengine": 'pip install "seg-engine[mmseg] @ git+https://github.com/seg-engine/seg-engine"',
    "mmdet": "pip install mmdet",
    "mmpretrain": "pip install mmpretrain",
    "mmcls": "mmcls is mmpretrain now: pip install mmpretrain, and mmpretrain in place of mmcls",
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
