"""The examples in docstrings run; each entry point of the meta-package loads."""

from __future__ import annotations

import doctest
import importlib
import tomllib
from pathlib import Path

import pytest
from helpers.modules import modules_of
from torch import nn

import seg_engine

MODULES = modules_of(seg_engine)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    torch = importlib.import_module("torch")
    assert doctest.testmod(module, extraglobs={"torch": torch, "nn": nn}).failed == 0


def test_every_entry_point_loads_and_is_installed(root: Path) -> None:
    from importlib.metadata import entry_points

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for group, names in project["entry-points"].items():
        installed = {point.name: point for point in entry_points(group=group)}
        for name, value in names.items():
            assert installed[name].value == value
            assert callable(installed[name].load())


@pytest.mark.parametrize(
    ("face", "name"),
    [
        ("seg_engine.data", "BaseSegDataset"),
        ("seg_engine.data", "ADE20KDataset"),
        ("seg_engine.loading", "LoadImageFromFile"),
        ("seg_engine.loading", "LoadAnnotations"),
        ("seg_engine.segmentor", "Segmentor"),
        ("seg_engine.segmentor", "SegmentationLoss"),
    ],
)
def test_what_other_projects_import_stays_where_it_was(face: str, name: str) -> None:
    module = importlib.import_module(face)
    assert callable(getattr(module, name))
    assert name in module.__all__
