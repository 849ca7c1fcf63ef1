"""Where pictures and scalars go: one module a backend, each importing its library when it is used."""

from __future__ import annotations

from seg_vis.backends.base import BaseVisBackend
from seg_vis.backends.local import LocalVisBackend
from seg_vis.backends.mlflow import MLflowVisBackend
from seg_vis.backends.neptune import NeptuneVisBackend
from seg_vis.backends.tensorboard import TensorboardVisBackend
from seg_vis.backends.wandb import WandbVisBackend

__all__ = [
    "BaseVisBackend",
    "LocalVisBackend",
    "MLflowVisBackend",
    "NeptuneVisBackend",
    "TensorboardVisBackend",
    "WandbVisBackend",
]
