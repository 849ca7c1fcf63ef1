"""Read by the type checker only: what of the meta-package fits the Protocols of seg-runner."""

from __future__ import annotations

from seg_runner import protocols

from seg_engine.data.pipeline import NestedBuilder
from seg_engine.models.segmentor import Segmentor


def segmentor_fits(model: Segmentor) -> tuple[protocols.TrainModel, protocols.ValModel, protocols.TestModel]:
    """The demo's model."""
    return model, model, model


def nested_builder_fits(builder: NestedBuilder) -> protocols.Builder:
    """The command line's builder."""
    return builder
