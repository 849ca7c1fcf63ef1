"""The README's code runs, word for word, in an empty folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

README = "packages/seg-vis/README.md"


def test_the_code_runs(python_blocks: Callable[[str], list[str]], tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names: dict[str, Any] = {
        "satellite": rng.integers(0, 4000, (60, 90, 12), dtype=np.uint16),
        "confidence": rng.random((60, 90)),
    }
    blocks = python_blocks(README)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, README, "exec"), names)
    assert cv2.imread("sheet.png").shape[1] == 4 * 90 + 12
    assert names["picture"].shape == (60, 90, 3)
    assert Path("out/vis_data/vis_image/street_1.png").is_file()


def test_the_first_block_is_the_quick_start(python_blocks: Callable[[str], list[str]]) -> None:
    """The example needs a picture and labels; four lines make them, so that it can be pasted anywhere."""
    setup, quick_start = python_blocks(README)[0].split("\n\nimport cv2\n")
    assert len(setup.splitlines()) == 4
    assert quick_start.startswith("from seg_vis import compare, error_map, legend, overlay\n")
    assert len(quick_start.splitlines()) == 6
