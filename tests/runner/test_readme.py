"""The README's code runs as it stands, one block after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


def test_blocks_run(python_blocks: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {}  # the first block makes what the others use
    for block in python_blocks("packages/seg-runner/README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert set(names["runner"].val()) >= {"city/mIoU", "country/mIoU", "city/val_loss"}
    assert (tmp_path / "out" / "iter_1000.pth").exists()
