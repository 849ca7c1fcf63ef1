"""The README's code runs, word for word, in a folder with a picture and nothing else."""

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
    cv2.imwrite("street.png", rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    names: dict[str, Any] = {
        "labels": rng.integers(0, 19, (60, 90)),
        "truth": rng.integers(0, 19, (60, 90)),
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
    first = python_blocks(README)[0].splitlines()
    assert first[:2] == ["import cv2", "from seg_vis import compare, error_map, legend, overlay"]
    assert len(first) == 7
