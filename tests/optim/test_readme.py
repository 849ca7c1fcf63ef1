"""The README's code runs, in the order in which it stands there."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import seg_optim
import torch
from helpers.modules import modules_of
from torch import nn


def test_the_readme_runs(python_blocks: Callable[[str], list[str]], vit: nn.Module) -> None:
    loader = [torch.randn(2, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    names: dict[str, Any] = {"net": vit, "loader": loader}
    for block in python_blocks("packages/seg-optim/README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["schedule"].last_step == 4


@pytest.mark.parametrize("module", modules_of(seg_optim))
def test_examples_in_docstrings_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0
