"""The table of MMSegmentation's tools has every script of the published package; names only, nothing is read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from seg_engine.migrate.tools import TOOLS

SPEC = importlib.util.find_spec("mmseg")
FOLDER = Path(SPEC.origin).parent / ".mim" / "tools" if SPEC is not None and SPEC.origin else Path("nowhere")
if not FOLDER.is_dir():
    pytest.skip("mmsegmentation is not installed here", allow_module_level=True)


def test_each_script_has_a_row() -> None:
    there = {path.relative_to(FOLDER).as_posix() for end in ("py", "sh") for path in FOLDER.rglob(f"*.{end}")}
    assert there - set(TOOLS) == set()
    assert set(TOOLS) - there == set()
