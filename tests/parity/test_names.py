"""Names at the top of MMSegmentation's configs that are arguments of ours too stay the configs' own."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from seg_registry import Config
from seg_runner.assembly.arguments import OWN_KEYS
from seg_runner.assembly.from_config import misspelt
from seg_runner.assembly.own_keys import own_arguments, own_lines

SPEC = importlib.util.find_spec("mmseg")
if SPEC is None or not SPEC.submodule_search_locations:
    pytest.skip("mmsegmentation is in the parity environment only", allow_module_level=True)
FOLDER = Path(next(iter(SPEC.submodule_search_locations))) / ".mim" / "configs"
NAME = re.compile(rf"^({'|'.join(OWN_KEYS)}) *=", re.MULTILINE)
FILES = sorted(path for path in FOLDER.rglob("*.py") if NAME.search(path.read_text(encoding="utf-8")))


def test_none_of_them_is_taken_for_an_argument_and_a_line_tells_of_each() -> None:
    assert len(FILES) > 30
    for path in FILES:
        cfg = Config.fromfile(path)
        names = [key for key in OWN_KEYS if key in cfg]
        assert names
        assert own_arguments(cfg) == {}, path
        assert misspelt(cfg) == [], path
        assert [line.split()[0] for line in own_lines(cfg)] == names, path
