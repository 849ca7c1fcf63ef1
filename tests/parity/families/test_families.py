"""Families of MMSegmentation's own configs: trained and validated by MMEngine and here, equal to the last bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

for package in ("mmengine", "mmcv", "mmseg", "seg_engine"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from parity.families.catalogue import FAMILIES  # noqa: E402
from parity.families.layouts import make_data  # noqa: E402
from parity.families.side_by_side import compare, configs, overrides_of, run_ours, run_reference  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
MARKED = [
    pytest.param(name, marks=() if family.quick else pytest.mark.whole) for name, family in sorted(FAMILIES.items())
]


@pytest.mark.parametrize("name", MARKED)
def test_a_family_trains_and_validates_as_under_mmengine(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    path = configs() / family.config
    overrides = overrides_of(path, make_data(family.layout, tmp_path, family.ignored), family.size, family.more)
    theirs = run_reference(path, overrides, tmp_path / "theirs")
    compare(run_ours(path, overrides, tmp_path / "ours"), theirs)
