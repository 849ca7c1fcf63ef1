"""The models that the page on large runs plans for are as large as it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from helpers.tree import ROOT

from seg_engine.plan.measured import of_config

mmseg = importlib.util.find_spec("mmseg")
PAGE = (ROOT / "docs/several-processes.md").read_text(encoding="utf-8")
CONFIGS = {
    "SegFormer-B5": "segformer/segformer_mit-b5_8xb2-160k_ade20k-512x512.py",
    "ConvNeXt-L": "convnext/convnext-large_upernet_8xb2-amp-160k_ade20k-640x640.py",
}


@pytest.mark.whole
@pytest.mark.skipif(mmseg is None, reason="MMSegmentation is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_and_norms_are_those_of_the_config(name: str) -> None:
    found = of_config(Path(mmseg.origin).parent / ".mim/configs" / CONFIGS[name], False, 0)
    told = f"--millions {found['parameters'] / 1e6:.3f} --sync-bn {found['norms']:.0f} {found['channels']:.0f} "
    assert re.search(rf"This is {name}|this is {name}", PAGE)
    assert told in PAGE
    assert CONFIGS[name].partition("/")[2] in PAGE
