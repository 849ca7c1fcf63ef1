"""The demo's backends: those whose library is installed, and a line about the others."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_registry import Config

__all__ = ["keep_installed"]

LIBRARIES = {"TensorboardVisBackend": ("TensorBoard", "tensorboard"), "WandbVisBackend": ("Weights & Biases", "wandb")}
"""Backend -> what people call the service, and the package to install, which is its module too."""


def keep_installed(cfg: Config) -> str:
    """Take the backends out of a config whose library is not installed; return a line about them, or ''."""
    backends = cfg.get("visualizer", {}).get("vis_backends") or []
    wanted = {each.get("type") for each in backends}
    missing = [name for name, (_, module) in LIBRARIES.items() if name in wanted and find_spec(module) is None]
    if not missing:
        return ""
    cfg.visualizer.vis_backends = [each for each in backends if each.get("type") not in missing]
    services, packages = zip(*(LIBRARIES[name] for name in missing), strict=True)
    return f"Not installed, so left out: {', '.join(services)}. To have them: pip install {' '.join(packages)}"
