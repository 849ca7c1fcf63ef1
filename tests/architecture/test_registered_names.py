"""A class that a reader would name in a config can be named: it has an entry point."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from typing import Any

import pytest
from helpers.tree import PROJECTS

MODULES = {
    "seg_engine": {
        "transforms": ["data.loading", "data.geometry", "data.resizing", "data.colour", "data.test_time_versions"],
        "datasets": ["data.datasets", "data.joined_datasets", "demo.dataset"],
        "models": ["models.backbones", "models.heads", "models.segmentor", "models.losses", "models.region_losses"],
    },
    "seg_hooks": {"hooks": ["__init__"]},
    "seg_optim": {
        "hooks": ["groups.freeze"],
        "optim_wrappers": ["wrappers.wrapper", "wrappers.wrapper_dict", "wrappers.amp"],
        "optim_wrapper_constructors": ["groups.constructor", "groups.layer_decay"],
        "param_schedulers": [
            "schedules.families",
            "schedules.cosine",
            "schedules.plateau",
            "schedules.learning_rate",
            "schedules.momentum",
        ],
    },
    "seg_runner": {
        "metrics": ["evaluation.iou", "evaluation.cityscapes", "evaluation.depth"],
        "loops": ["loop.train", "loop.evaluate"],
        "data_samplers": ["data.samplers"],
        "models": ["model.preprocessor", "model.tta"],
    },
    "seg_vis": {
        "hooks": ["hook"],
        "vis_backends": ["backends"],
        "visualizers": ["visualizer", "segmentation_visualizer"],
    },
}
"""Modules that hold what configs name, by the group of entry points."""

NOT_NAMED = {
    "BaseVisBackend": "what the backends share",
    "Decay": "a protocol",
    "EvalRunner": "a protocol",
    "EvalLoop": "what ValLoop and TestLoop share",
    "Frozen": "what freeze() returns",
    "HeadedNetwork": "made by Segmentor from its parts",
    "Hook": "documentation of the points",
    "Ordered": "a protocol",
    "Process": "a protocol",
    "Steps": "a protocol",
    "TrainRunner": "a protocol",
    "TrainLoop": "what IterBasedTrainLoop and EpochBasedTrainLoop share",
    "SegmentationLoss": "made by Segmentor from loss_decode",
}


def entry_points() -> dict[str, set[str]]:
    """Names of all entry points of the project, by group."""
    found: dict[str, set[str]] = {}
    for folder in PROJECTS.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for group, names in project.get("entry-points", {}).items():
            found.setdefault(group, set()).update(names)
    return found


def public_classes(module: Any) -> set[str]:
    return {name for name in module.__all__ if inspect.isclass(getattr(module, name, None))}


CASES = [(p, group, name) for p, groups in MODULES.items() for group, names in groups.items() for name in names]


@pytest.mark.parametrize(("package", "group", "name"), CASES)
def test_a_class_that_a_reader_would_name_is_registered(package: str, group: str, name: str) -> None:
    module = importlib.import_module(package if name == "__init__" else f"{package}.{name}")
    classes = {one for one in public_classes(module) if name != "__init__" or one.endswith("Hook")}
    assert classes, "the module shows no class: is this list out of date?"
    registered = set().union(*(names for one, names in entry_points().items() if one.startswith("seg_engine.")))
    missing = classes - registered - set(NOT_NAMED)
    assert not missing, f"add to seg_engine.{group} in pyproject.toml, or to NOT_NAMED with a reason: {missing}"
