"""Files that run on both engines (`tests/parity/projects`) have nothing to be changed in them: no false alarm."""

from __future__ import annotations

import importlib.util

import pytest
from projects import ROOT

from seg_engine.migrate.project import look_at

if importlib.util.find_spec("mmengine") is None or importlib.util.find_spec("mmseg") is None:
    pytest.skip("mmengine and mmseg are not installed here", allow_module_level=True)


def test_seg_migrate_finds_nothing_to_change_in_what_works() -> None:
    report = look_at(ROOT / "tests/parity/projects")
    assert len(report.files["code"]) > 40
    assert [f"{each.place}: {each.what}" for each in report.findings] == []
