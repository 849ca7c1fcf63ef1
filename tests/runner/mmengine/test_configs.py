"""A part that derives from one of MMEngine's gets the config as MMEngine's Config; every other part gets ours."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from seg_runner.mmengine.configs import config_for

Visualizer = type("Visualizer", (), {"__module__": "mmengine.visualization"})


class Config:
    def __init__(self, values: dict[str, Any], filename: str | None = None) -> None:
        self.values, self.filename = values, filename


class Ours:
    filename = "config.py"

    def to_dict(self) -> dict[str, Any]:
        return {"a": 1}


def test_only_parts_of_mmengine_get_its_config(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = Ours()
    assert config_for(Visualizer(), cfg) is cfg  # nothing to make it of
    module = ModuleType("mmengine.config")
    module.Config = Config  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine.config", module)
    assert config_for(object(), cfg) is cfg
    made = config_for(Visualizer(), cfg)
    assert (made.values, made.filename) == ({"a": 1}, "config.py")
    assert config_for(Visualizer(), made) is made
    assert config_for(Visualizer(), {"b": 2}).values == {"b": 2}
