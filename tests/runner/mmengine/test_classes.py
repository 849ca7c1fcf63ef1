"""Classes are told to be written for MMEngine by their bases and by its registries; nothing is imported for it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from seg_runner.mmengine.classes import is_of_mmengine, is_registered, is_written_for_mmengine

Base = type("BaseMetric", (), {"__module__": "mmengine.evaluator.metric"})


class Mine(Base):  # type: ignore[misc, valid-type]
    pass


class Own:
    pass


def test_a_class_is_of_mmengine_by_any_of_its_bases() -> None:
    assert is_of_mmengine(Mine)
    assert is_of_mmengine(Base)
    assert not is_of_mmengine(Own)
    assert not is_of_mmengine(type("Near", (), {"__module__": "mmengine_extras.metric"}))
    assert not is_of_mmengine(print)


def test_a_class_is_written_for_mmengine_where_a_registry_of_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_written_for_mmengine(Own, "METRICS")
    below = SimpleNamespace(module_dict={"Own": Own}, children={})
    top = SimpleNamespace(module_dict={"Other": object}, children={"mmseg": below})
    module = ModuleType("mmengine.registry")
    monkeypatch.setitem(sys.modules, "mmengine.registry", module)
    assert not is_written_for_mmengine(Own, "METRICS")
    monkeypatch.setattr(module, "METRICS", top, raising=False)
    assert is_written_for_mmengine(Own, "METRICS")
    assert is_registered("Own", "METRICS")
    assert is_registered("mmengine.Other", "METRICS")
    assert not is_registered("Another", "METRICS")
    assert not is_registered("Own", "HOOKS")
