"""The README's code runs as it stands, one block after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset


def test_blocks_run(python_blocks: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(8, 3, 8, 8), torch.randint(0, 7, (8, 8, 8)))
    names: dict[str, Any] = {
        "torch": torch,
        "net": torch.nn.Conv2d(3, 7, 1),
        "train_loader": DataLoader(data, batch_size=4, shuffle=True),
        "val_loader": DataLoader(data, batch_size=4),
    }
    for block in python_blocks("packages/seg-runner/README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert set(names["runner"].val()) >= {"city/mIoU", "country/mIoU", "city/val_loss"}
    assert (tmp_path / "out" / "iter_1000.pth").exists()
