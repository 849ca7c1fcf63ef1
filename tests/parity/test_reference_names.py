"""The site's reference says which names of ours are MMEngine's: as the published packages say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

for package in ("mmengine", "mmcv", "mmseg"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).resolve().parents[2]


def test_the_list_of_the_references_names_is_what_they_register() -> None:
    spec = importlib.util.spec_from_file_location("reference_names", ROOT / "scripts/reference_names.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = json.loads(module.FILE.read_text(encoding="utf-8"))
    assert written == module.registered(), "`./run parity:names` writes the list anew"
